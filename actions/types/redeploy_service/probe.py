"""The state of a service: its current release, its record, its processes, and the health gate.

The record (``record.json`` in the control directory, replaced whole) is what the supervisor starts: release, command,
environment, grace, ``token`` (the idempotency key of the step that wrote it) and ``passed`` (the health gate let it
through). A process carries its token, so that record and process can be compared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.states import ProcessStates

from actions.types.protocol import Outcome, StepContext, Target
from actions.types.redeploy_service.releases import (
    MANIFESTS,
    RELEASES,
    Manifest,
    exists,
    read_current,
    read_manifest,
    scan,
)
from actions.types.redeploy_service.schema import Service, run_digest
from actions.types.redeploy_service.supervisor import Supervisor, log_tail
from actions.types.shared.fs_state import exclusive_lock, open_directory, open_subdirectory, read_state, write_state
from actions.types.shared.net_probe import ProbeRequest, probe, to_probe_request
from actions.types.shared.safe_path import Unreachable
from audit.changes.masking import mask

CONTROL, RECORD, LOCK = ".interlock-service", "record.json", "lock"
ServiceState = dict[str, Any]  # {"current", "release", "token", "run"}, each a string or None: one end of a switch


@dataclass(frozen=True)
class ServiceDir:
    """The open directories of one service. ``control`` and ``manifests`` are -1 where they are not made yet."""

    path: str
    home: int
    control: int = -1
    manifests: int = -1

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.control)

    def record(self) -> dict[str, Any] | None:
        if self.control < 0:
            return None
        found = read_state(self.control, RECORD, f"{self.path}/{CONTROL}/{RECORD}")
        if found is not None and not (isinstance(found, dict) and {"release", "token", "command"} <= found.keys()):
            raise Unreachable("corrupt", f"{self.path}/{CONTROL}/{RECORD} is not a record of Interlock's.")
        return found

    def write_record(self, record: dict[str, Any] | None) -> None:
        write_state(self.control, RECORD, record)

    def end(self) -> ServiceState:
        """Where the service stands now, as plans name it."""
        record = self.record()
        if record is None:
            return {"current": read_current(self.home), "release": None, "token": None, "run": None}
        return {
            "current": read_current(self.home),
            "release": record["release"],
            "token": record["token"],
            "run": run_digest(record),
        }

    def manifest_of(self, release: str) -> Manifest:
        """The manifest kept when a release was taken up, else what is in its directory. Raises Unreachable."""
        kept = read_manifest(self.manifests, release) if self.manifests >= 0 else None
        return kept or self.scan(release)

    def scan(self, release: str) -> Manifest:
        shown = f"{self.path}/{RELEASES}"
        with (
            open_subdirectory(self.home, RELEASES, shown) as releases,
            open_subdirectory(releases, release, f"{shown}/{release}") as fd,
        ):
            return scan(fd, f"{shown}/{release}")

    def runs(self, token: str | None) -> bool:
        """Whether a process of the service is alive that this deployment started; for none, whether none is alive."""
        if self.control < 0:
            return token is None
        live = self.supervisor.live()
        return any(each.token == token for each in live) if token is not None else not live

    def image(self) -> bytes:
        """What is kept to restore: the record, and whether the service ran and had passed. Encrypted by the engine."""
        record = self.record()
        runs = record is not None and self.runs(record["token"])
        return json.dumps({"record": record, "runs": runs}, sort_keys=True).encode()


@contextmanager
def open_service(target: Target, path: str) -> Iterator[ServiceDir]:
    """Open a service's directories to look. Raises Unreachable."""
    with ExitStack() as stack:
        home = stack.enter_context(open_directory(target.root, path))
        if not exists(home, CONTROL):
            yield ServiceDir(path, home)
            return
        control = stack.enter_context(open_subdirectory(home, CONTROL, f"{path}/{CONTROL}"))
        made = exists(control, MANIFESTS)
        manifests = stack.enter_context(open_subdirectory(control, MANIFESTS, MANIFESTS)) if made else -1
        yield ServiceDir(path, home, control, manifests)


@contextmanager
def lock_service(target: Target, path: str, deadline: float, stopping: Callable[[], bool]) -> Iterator[ServiceDir]:
    """Open a service's directories to change them, alone: no other step of any worker is at work on it meanwhile."""
    with ExitStack() as stack:
        home = stack.enter_context(open_directory(target.root, path))
        control = stack.enter_context(open_subdirectory(home, CONTROL, f"{path}/{CONTROL}", make=0o700))
        stack.enter_context(exclusive_lock(control, LOCK, deadline, stopping))
        yield ServiceDir(
            path, home, control, stack.enter_context(open_subdirectory(control, MANIFESTS, MANIFESTS, make=0o700))
        )


# The health gate: the started process answers healthily, several times in a row, in time.


def health_gate_terms(service: Service) -> dict[str, Any]:
    """What a plan says of the gate. Times in milliseconds, so that they are whole."""
    return {
        "question": service.health,
        "times": service.healthy_after,
        "interval_ms": int(service.health_interval_s * 1000),
        "deadline_ms": int(service.health_deadline_s * 1000),
    }


def wait_until_healthy(ctx: StepContext, house: ServiceDir, token: str, gate: dict[str, Any]) -> Outcome:
    """Ask until the process has been well ``times`` times in a row, or the gate's time is up."""
    ask = to_probe_request(gate["question"], ctx.target)
    deadline = min(ctx.deadline, time.monotonic() + gate["deadline_ms"] / 1000)
    row, first, last, tries = 0, None, "it was not asked", 0
    while time.monotonic() < deadline:
        if ctx.stopping():
            return Outcome(False, "stopped", "The run is stopping.", retryable=True)
        if house.supervisor.state() == ProcessStates.FATAL:
            last = "the process ends right after every start"
            break
        tries += 1
        pid, last = probe_process(house.supervisor, token, ask)
        row = row + 1 if pid is not None and pid == first else int(pid is not None)
        first = pid
        if row == 1 or pid is None:
            ctx.log(f"health, try {tries}: {last}")
        if row >= gate["times"]:
            return Outcome(True, facts={"endpoint": ask.shown, "tries": tries, "in_a_row": row})
        time.sleep(max(0.0, min(gate["interval_ms"] / 1000, deadline - time.monotonic())))
    for line in mask("\n".join(log_tail(house.control)), ctx.target.mask_key).splitlines():
        ctx.log(f"service │ {line}")
    facts = {"endpoint": ask.shown, "tries": tries, "in_a_row": row}
    return Outcome(False, "unhealthy", f"{ask.shown} is unhealthy: {last} ({tries} tries).", facts)


def probe_process(supervisor: Supervisor, token: str, ask: ProbeRequest) -> tuple[int | None, str]:
    """Return the pid of the process if it is this deployment's and answers well, and what was seen."""
    pid = supervisor.running(token)
    if pid is None:
        return None, "the process is not up"
    answer = probe(ask)
    return (pid if answer.ok else None), answer.detail


def run_health_gate(ctx: StepContext) -> Outcome:
    """The step: wait for health without keeping others out, then note in the record that this deployment passed."""
    spec = ctx.step["spec"]
    with open_service(ctx.target, spec["path"]) as house:
        token = gated_token(house, spec)
        if token is None:
            return Outcome(False, "precondition", "What runs is not what this plan started. Propose it again.")
        if (house.record() or {}).get("passed"):
            return Outcome(True, facts={"changed": False})
        outcome = wait_until_healthy(ctx, house, token, spec["gate"])
    if outcome.ok:
        with lock_service(ctx.target, spec["path"], ctx.deadline, ctx.stopping) as house:
            if gated_token(house, spec) != token:
                return Outcome(False, "precondition", "Someone else redeployed this service meanwhile.")
            house.write_record({**(house.record() or {}), "passed": True})
        ctx.log("healthy")
    return outcome


def gated_token(house: ServiceDir, spec: dict[str, Any]) -> str | None:
    """The token of the deployment that the gate is for, if it is the one on record."""
    end = house.end()
    fits = all(end[name] == spec["after"][name] for name in ("current", "release", "run"))
    return end["token"] if fits and end["token"] != spec["before"]["token"] else None


def is_healthy(house: ServiceDir, target: Target, gate: dict[str, Any]) -> tuple[bool, str]:
    """Ask a few times, for a verification: the first good answer counts."""
    token = (house.record() or {}).get("token") or ""
    for _ in range(3):
        pid, said = probe_process(house.supervisor, token, to_probe_request(gate["question"], target))
        if pid is not None:
            return True, said
        time.sleep(gate["interval_ms"] / 1000)
    return False, said

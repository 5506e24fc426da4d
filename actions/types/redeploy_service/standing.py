"""How a service stands: which release ``current`` names, what its record says, and what really runs.

The record (``record.json`` in the control directory, replaced whole) is what the supervisor starts: release, command,
environment, grace, ``token`` (the idempotency key of the step that wrote it) and ``passed`` (the health gate let it
through). A process carries its token, so that record and process can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from actions.types.durable import directory, inner, locked, read_state, write_state
from actions.types.protocol import Target
from actions.types.redeploy_service.releases import (
    MANIFESTS,
    RELEASES,
    Manifest,
    exists,
    kept_manifest,
    read_current,
    scan,
)
from actions.types.redeploy_service.rules import run_digest
from actions.types.redeploy_service.supervising import Supervisor
from actions.types.tree import Unreachable

CONTROL, RECORD, LOCK = ".interlock-service", "record.json", "lock"
End = dict[str, Any]  # {"current", "release", "token", "run"}, each a string or None: one end of a switch


@dataclass(frozen=True)
class House:
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

    def end(self) -> End:
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
        kept = kept_manifest(self.manifests, release) if self.manifests >= 0 else None
        return kept or self.scan(release)

    def scan(self, release: str) -> Manifest:
        shown = f"{self.path}/{RELEASES}"
        with inner(self.home, RELEASES, shown) as releases, inner(releases, release, f"{shown}/{release}") as fd:
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
def seen(target: Target, path: str) -> Iterator[House]:
    """Open a service's directories to look. Raises Unreachable."""
    with ExitStack() as stack:
        home = stack.enter_context(directory(target.root, path))
        if not exists(home, CONTROL):
            yield House(path, home)
            return
        control = stack.enter_context(inner(home, CONTROL, f"{path}/{CONTROL}"))
        made = exists(control, MANIFESTS)
        manifests = stack.enter_context(inner(control, MANIFESTS, MANIFESTS)) if made else -1
        yield House(path, home, control, manifests)


@contextmanager
def held(target: Target, path: str, deadline: float, stopping: Callable[[], bool]) -> Iterator[House]:
    """Open a service's directories to change them, alone: no other step of any worker is at work on it meanwhile."""
    with ExitStack() as stack:
        home = stack.enter_context(directory(target.root, path))
        control = stack.enter_context(inner(home, CONTROL, f"{path}/{CONTROL}", make=0o700))
        stack.enter_context(locked(control, LOCK, deadline, stopping))
        yield House(path, home, control, stack.enter_context(inner(control, MANIFESTS, MANIFESTS, make=0o700)))

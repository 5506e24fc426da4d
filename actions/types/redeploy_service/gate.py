"""The health gate: the very process that was started answers well, several times in a row, within its time."""

from __future__ import annotations

import time
from typing import Any

from supervisor.states import ProcessStates

from actions.types.probing import Ask, probe
from actions.types.protocol import Outcome, StepContext, Target
from actions.types.questions import ask_of
from actions.types.redeploy_service.rules import Service
from actions.types.redeploy_service.standing import House, held, seen
from actions.types.redeploy_service.supervising import Supervisor, log_tail
from audit.changes.masking import mask


def terms(service: Service) -> dict[str, Any]:
    """What a plan says of the gate. Times in milliseconds, so that they are whole."""
    return {
        "question": service.health,
        "times": service.healthy_after,
        "interval_ms": int(service.health_interval_s * 1000),
        "deadline_ms": int(service.health_deadline_s * 1000),
    }


def passes(ctx: StepContext, house: House, token: str, gate: dict[str, Any]) -> Outcome:
    """Ask until the process has been well ``times`` times in a row, or the gate's time is up."""
    ask = ask_of(gate["question"], ctx.target)
    deadline = min(ctx.deadline, time.monotonic() + gate["deadline_ms"] / 1000)
    row, first, last, tries = 0, None, "it was not asked", 0
    while time.monotonic() < deadline:
        if ctx.stopping():
            return Outcome(False, "stopped", "The run is stopping.", retryable=True)
        if house.supervisor.state() == ProcessStates.FATAL:
            last = "the process ends right after every start"
            break
        tries += 1
        pid, last = look(house.supervisor, token, ask)
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
    return Outcome(False, "unhealthy", f"{ask.shown} is not well: {last} ({tries} tries).", facts)


def look(supervisor: Supervisor, token: str, ask: Ask) -> tuple[int | None, str]:
    """Return the pid of the process if it is this deployment's and answers well, and what was seen."""
    pid = supervisor.running(token)
    if pid is None:
        return None, "the process is not up"
    answer = probe(ask)
    return (pid if answer.ok else None), answer.detail


def pass_through(ctx: StepContext) -> Outcome:
    """The step: wait for health without keeping others out, then note in the record that this deployment passed."""
    spec = ctx.step["spec"]
    with seen(ctx.target, spec["path"]) as house:
        token = gated_token(house, spec)
        if token is None:
            return Outcome(False, "precondition", "What runs is not what this plan started. Propose it again.")
        if (house.record() or {}).get("passed"):
            return Outcome(True, facts={"changed": False})
        outcome = passes(ctx, house, token, spec["gate"])
    if outcome.ok:
        with held(ctx.target, spec["path"], ctx.deadline, ctx.stopping) as house:
            if gated_token(house, spec) != token:
                return Outcome(False, "precondition", "Somebody else has redeployed this service meanwhile.")
            house.write_record({**(house.record() or {}), "passed": True})
        ctx.log("healthy")
    return outcome


def gated_token(house: House, spec: dict[str, Any]) -> str | None:
    """The token of the deployment that the gate is for, if it is the one on record."""
    end = house.end()
    fits = all(end[name] == spec["after"][name] for name in ("current", "release", "run"))
    return end["token"] if fits and end["token"] != spec["before"]["token"] else None


def is_well(house: House, target: Target, gate: dict[str, Any]) -> tuple[bool, str]:
    """Ask a few times, for a verification: the first good answer counts."""
    token = (house.record() or {}).get("token") or ""
    for _ in range(3):
        pid, said = look(house.supervisor, token, ask_of(gate["question"], target))
        if pid is not None:
            return True, said
        time.sleep(gate["interval_ms"] / 1000)
    return False, said

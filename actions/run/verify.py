"""After the last step: re-read the target, run the action's checks, and complete or undo."""

import time
from collections.abc import Generator
from functools import partial
from typing import Any

from actions.case import Case, Effect, Result, durably
from actions.checks import run_checks
from actions.impact import measured
from actions.lifecycle import Write
from actions.models import Action
from actions.run.simulate import untouched
from actions.run.stopping import halt_of
from actions.scheduling.standing import SWITCH
from actions.storable import storable, text_of
from audit.log.artifacts import ArtifactRows, pack_artifact
from audit.log.canonical_json import canonical

BY = "system:execute"
REPORT_FORMAT = "interlock.verification/1"
LOG_FORMAT = "interlock.log/1"
MOST_DATA_BYTES = 64 * 1024


def verify(case: Case) -> Generator[Write | Effect, Any, None]:
    """Take a verifying action to completed, with the report attached; a check that does not hold undoes the run."""
    result: Result = yield Effect(partial(report_of, case))
    if result.error is not None:
        report = {"format": REPORT_FORMAT, "ok": False, "checks": [_crash(result.error)]}
    else:
        report = result.value
    yield from durably(case, lambda: verified(case, report))


def report_of(case: Case) -> dict[str, Any]:
    """Re-read every step's effect and run the checks, in a thread. Each check: name, ok, detail."""
    started = time.monotonic()
    if case.action.simulated:  # what was not done cannot be verified, nor can the checks hold that wait for it
        return {"format": REPORT_FORMAT, "ok": True, "simulated": True, "checks": [untouched(case)]}
    found = [{"kind": "step", **c} for c in case.executor.verify(done_of(case), case.target)]
    found += run_checks(case.action.checks, case.target, started + case.action.timeout_s)
    found = storable(found)
    took_ms = int((time.monotonic() - started) * 1000)
    return {"format": REPORT_FORMAT, "ok": all(c["ok"] for c in found), "checks": found, "duration_ms": took_ms}


def verified(case: Case, report: dict[str, Any]) -> Write:
    action = case.action
    packs = [_pack(case, report), *log_pack(case)]
    named = tuple(p.digest for p in packs)
    if action.stop_requested_at and action.stop_why != SWITCH:  # a switched-off run changes nothing any more
        return _stopped(case, packs, report)
    if not report["ok"]:
        bad = ", ".join(c["name"] for c in report["checks"] if not c["ok"])
        error = {"code": "verification_failed", "message": f"These checks do not hold: {bad}.", "details": {}}
        return _undo(case, error, packs, report)
    result = {"success": True, "data": data_of(case), "error": None, **not_done(case)}
    return Write(
        action,
        "complete",
        by=BY,
        facts={"checks": len(report["checks"]), **not_done(case)},
        artifacts=named,
        packs=packs,
        sets={"result": result},
        release=True,
        impact=came_to(case, report),
    )


def done_of(case: Case) -> list[dict[str, Any]]:
    """The steps whose effect there is to read again: all, but for what was left out or stood in for."""
    return [s for s in case.steps if case.ledger[s["key"]].state == "done"]


def not_done(case: Case) -> dict[str, list[str]]:
    """What a completed run did not do, by key: the steps that failed and were skipped, and all without an effect."""
    skipped = [s["key"] for s in case.steps if case.ledger[s["key"]].state == "skipped"]
    left_out = [s["key"] for s in case.steps if case.ledger[s["key"]].state != "done"]
    return {"skipped": skipped, "left_out": left_out} if left_out else {}


def _stopped(case: Case, packs: list[ArtifactRows], report: dict[str, Any]) -> Write:
    """Go where the one who asked the run to stop wants it."""
    halt = halt_of(case)
    if halt.verb != "roll_back":
        return _undo(case, halt.error, packs, report)
    named = tuple(p.digest for p in packs)
    return Write(case.action, "roll_back", by=BY, facts=halt.facts, sets=halt.sets, packs=packs, artifacts=named)


def _undo(case: Case, error: dict[str, Any], packs: list[ArtifactRows], report: dict[str, Any]) -> Write:
    undo = case.changes_something and bool(case.ledger.with_effect(case.steps))
    failing = [c["name"] for c in report["checks"] if not c["ok"]]
    return Write(
        case.action,
        "roll_back" if undo else "fail",
        by=BY,
        facts={"because": error["code"], "checks": failing, **error["details"]},
        artifacts=tuple(p.digest for p in packs),
        packs=packs,
        release=not undo,
        outcome="ok" if undo else "failed",
        sets={"error": {**error, "details": {**error["details"], "checks": failing}}},
        impact=came_to(case, report),
    )


def came_to(case: Case, report: dict[str, Any]) -> dict[str, Any] | None:
    """What the run came to, for the next one like it; a simulation came to nothing."""
    return None if case.action.simulated else measured(case.plan, case.ledger, report)


def log_pack(case: Case) -> list[ArtifactRows]:
    """The step logs as one artifact, if there are any lines."""
    steps = {s["key"]: case.ledger[s["key"]].log for s in case.steps if case.ledger[s["key"]].log}
    if not steps:
        return []
    body = canonical({"format": LOG_FORMAT, "steps": steps})
    return [pack_artifact(case.action.tenant_id, body, "application/json")]


def data_of(case: Case) -> dict[str, Any]:
    """The facts of each step by key; too much of it and only the fact that it is in the log remains."""
    data = {s["key"]: case.ledger[s["key"]].facts for s in case.steps}
    return data if len(canonical(data)) <= MOST_DATA_BYTES else {"truncated": True, "steps": sorted(data)}


def _pack(case: Case, report: dict[str, Any]) -> ArtifactRows:
    return pack_artifact(case.action.tenant_id, canonical(report), "application/json")


def _crash(error: BaseException) -> dict[str, Any]:
    return {"kind": "verify", "name": "verify", "ok": False, "detail": text_of(f"{type(error).__name__}: {error}")}


def duration_s(action: Action) -> float | None:
    """How long a run took, or None while it has not ended."""
    if not (action.started_at and action.completed_at):
        return None
    return (action.completed_at - action.started_at).total_seconds()

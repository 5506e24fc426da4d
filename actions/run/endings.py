"""How the runner ends what cannot be carried, and what it logs of every turn."""

from typing import Any

import structlog

from actions.case import Case, Result, Script, durably
from actions.lifecycle import Write
from actions.run.tallies import count

log = structlog.get_logger(__name__)
GAVE_UP = "stopped"
"""The code of a step that ended early because `stopping()` turned true."""
TOLD = ("start", "complete", "fail", "deny", "hold", "roll_back", "finish_rollback", "reopen")


def give_up(case: Case, code: str, message: str) -> Script:
    """End what cannot be carried: hold it for a person if anything may have been done, else fail it."""
    case.is_breaking_off = True
    begun = case.action.state in ("in_progress", "verifying", "rolling_back")
    sets: dict[str, Any] = {"error": {"code": code, "message": message, "details": {}}}
    verb = "hold" if begun else "fail"
    if begun:
        sets["held_reason"] = code
    by, private = "system:runner", {"message": message}
    yield from durably(
        case, lambda: Write(case.action, verb, by=by, facts={"code": code}, private=private, sets=sets, release=True)
    )


def gave_up(result: Result) -> bool:
    """Whether a step ended early because it was told that its worker stops."""
    return getattr(getattr(result.value, "outcome", None), "code", "") == GAVE_UP


def tell(w: Write) -> None:
    """One log line for each turn that a person would look for, with the id that ties it to its request.

    What its attempts used is counted besides.
    """
    for line in () if w.action.simulated else w.checkpoints:
        if line.metrics:
            count(w.action.type, str(line.kind), line.metrics)
    if w.verb in TOLD:
        action = w.action
        log.info(
            "action_moved",
            verb=w.verb,
            state=str(action.state),
            action=str(action.pk),
            correlation_id=action.correlation_id,
        )

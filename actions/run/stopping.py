"""Where a run goes that was asked to stop: by a person, who may want it back at a checkpoint, or by what it watches."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from actions.case import Case
from actions.models import Action
from actions.run.endings import GAVE_UP
from actions.scheduling.standing import SWITCH

ABORTED: dict[str, Any] = {"code": "aborted", "message": "A person aborted the run.", "details": {}}
SPIKE, CHECKPOINT = "risk_spike", "checkpoint"
AT_CHECKPOINT, CANCELLED = "at_checkpoint", "cancelled_attempt"
WISH = ("stop_requested_at", "stop_why", "rollback_to")


def take_wish(ours: Action, theirs: Action) -> None:
    """Take over what somebody wrote about stopping; `stop_requested_at` comes last, for it is what others look at."""
    ours.stop_why, ours.rollback_to = theirs.stop_why, theirs.rollback_to
    ours.stop_requested_at = theirs.stop_requested_at


@dataclass(frozen=True)
class Halt:
    """What becomes of the run: `verb` moves it, or nothing, and then it goes back whole, as after a failure."""

    error: dict[str, Any]
    verb: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, Any] = field(default_factory=dict)


def halt_of(case: Case, landed_codes: Iterable[str] = ()) -> Halt:
    """Where to go now that nothing runs any more; `landed_codes` are those of attempts that ended just now."""
    action = case.action
    how = how_stopped(case, landed_codes)
    if action.stop_why == CHECKPOINT and action.rollback_to:
        facts = {"because": CHECKPOINT, "back_to": action.rollback_to, "stopped": how}
        return Halt({}, "roll_back", facts)
    if action.stop_why == SWITCH:
        return Halt({}, "hold", {"reason": SWITCH, "stopped": how}, {"held_reason": SWITCH})
    error = {**(spike_of(action.error) if action.stop_why == SPIKE else ABORTED)}
    error["details"] = {**error["details"], "stopped": how}
    if action.stop_why == SPIKE and action.watch.get("then", "hold") == "hold":
        return Halt(error, "hold", {"reason": SPIKE, "stopped": how}, {"held_reason": SPIKE, "error": error})
    return Halt(error, "", {"stopped": how})


def how_stopped(case: Case, landed_codes: Iterable[str] = ()) -> str:
    """Whether an attempt was cancelled, or the run ended between two of them."""
    cut = any(r.state == "failed" and r.facts.get("code") == GAVE_UP for r in case.ledger.records.values())
    return CANCELLED if cut or GAVE_UP in landed_codes else AT_CHECKPOINT


def spike_of(error: dict[str, Any] | None) -> dict[str, Any]:
    """The error of a risk spike: what was noted of it when the run was asked to stop."""
    if error and error.get("code") == SPIKE:
        return error
    return {"code": SPIKE, "message": "What the run is watched by no longer holds.", "details": {}}

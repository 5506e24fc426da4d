"""Roll back an action, or a run to one of its checkpoints."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from actions.commands.propose import resubmission_of
from actions.commands.stop_resume import advance_for, moved_or_wrong_state, resume_verb
from actions.errors import NothingToUndo, OnlySimulated, WrongState
from actions.intake.submit import submit
from actions.lifecycle.allowed import STOPPABLE, UNDOABLE, describe_state, find_action, may_propose_again, require
from actions.lifecycle.commit import advance, record_note
from actions.lifecycle.journal import Journal
from actions.lifecycle.transitions import Note
from actions.models import Action
from actions.models.states import State
from actions.run.stop import CHECKPOINT
from actions.run.verify import ancestors, is_irreversible
from audit.errors import Invalid
from tenants.access import Access

MAX_TRIES = 20
"""Attempts to record the request; each lost one means that the run moved on."""
MAX_SHOWN = 200


@dataclass(frozen=True)
class RollbackTarget:
    """A step that a run could roll back to: what would be undone, and what could not."""

    n: int
    key: str
    title: str
    undone: list[str]
    final: list[str]


def rollback_to_step(access: Access, action_id: UUID, step: str, reason: str, *, correlation_id: str = "") -> Action:
    """
    Roll back to just after a step, and hold there. A running action is stopped first, as by an abort.

    Then a person resumes it (undone steps run again), rolls back wholly, or gives up. Raises NotAllowed, WrongState,
    Invalid for an unknown step, NothingToUndo.
    """
    for _ in range(MAX_TRIES):
        action = find_action(access, action_id)
        require(
            access.can("operate", action.environment_id),
            "Only an operator of the environment may roll a run back to a checkpoint.",
        )
        refuse_unreachable(action, step)
        if action.state == State.HELD:
            resume_verb(action, "rollback", None)
            facts = {"back_to": step, "reason_given": bool(reason)}
            moved = advance(
                [action.pk],
                "roll_back",
                by=str(access.principal.pk),
                correlation_id=correlation_id,
                facts=facts,
                private={"reason": reason} if reason else {},
                sets={"rollback_to": step},
            )
            if moved:
                break
        elif request_rollback(access, action, step, reason, correlation_id):
            break
    else:
        raise WrongState("The run moved on meanwhile. Try again, or abort it.")
    return find_action(access, action_id)


def request_rollback(access: Access, action: Action, step: str, reason: str, correlation_id: str) -> bool:
    """Record the request that the worker obeys at its next checkpoint; False if the run moved on meanwhile."""
    facts: dict[str, Any] = {"back_to": step, **({"via": correlation_id} if correlation_id else {})}
    stop_note = Note("action.rollback_requested", facts, {"reason": reason} if reason else {})
    sets = {"stop_reason": CHECKPOINT, "rollback_to": step}
    return record_note(action, stop_note, by=str(access.principal.pk), stop=True, sets=sets)


def refuse_unreachable(action: Action, step: str) -> None:
    """Raise unless the run can roll back to just after this step. One query."""
    if action.simulated:
        raise OnlySimulated
    if action.state not in (*STOPPABLE, State.HELD):
        raise WrongState(
            f"This action is {describe_state(action.state)}; only a running or held one can roll back to a checkpoint.",
            remedies=["If it has ended, roll it back wholly."],
        )
    if action.stop_requested_at:
        raise WrongState("The run is already stopping. Wait until it has stopped, then roll it back.")
    plan = action.plan
    if plan is None or action.started_at is None:
        raise NothingToUndo
    found = next((s for s in plan.steps if s["key"] == step), None)
    if found is None:
        raise Invalid(f"The plan has no step {step!r}. Read the action for the keys of its steps.")
    journal = Journal.of(action.journal_entries.order_by("id"))
    needed = {step, *ancestors(plan.steps, found)} - journal.settled(plan.steps)
    missing = [s["title"] for s in plan.steps if s["key"] in needed]
    if missing:
        raise WrongState(
            f"{missing[0]} is not done, so there is no checkpoint after it.",
            remedies=["Choose a step that is done, and whose earlier steps are done."],
        )
    if beyond := [s["title"] for s in steps_after(plan.steps, step) if is_irreversible(s) and journal[s["key"]].effect]:
        raise WrongState(
            f"{beyond[-1]} came later and cannot be undone.", remedies=["Choose that step, or a later one."]
        )


def steps_after(steps: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    """The steps after one in the plan's order: those that a rollback to it undoes. Pure."""
    keys = [s["key"] for s in steps]
    return steps[keys.index(step) + 1 :]


def rollback_targets(action: Action, lines: Iterable[Any]) -> list[RollbackTarget]:
    """The checkpoints that an action could roll back to, the latest first; `lines` are its journal entries. Pure."""
    plan = action.plan
    if plan is None or action.state not in (*STOPPABLE, State.HELD) or action.simulated:
        return []
    journal = Journal.of(lines)
    done = journal.settled(plan.steps)
    found: list[RollbackTarget] = []
    for n, s in reversed(list(enumerate(plan.steps, 1))):
        later = [t for t in plan.steps[n:] if journal[t["key"]].effect]
        final = [t["title"] for t in later if is_irreversible(t)]
        if final or len(found) >= MAX_SHOWN:
            break
        if s["key"] in done and ancestors(plan.steps, s) <= done and later:
            found.append(RollbackTarget(n, s["key"], s["title"], [t["title"] for t in reversed(later)], final))
    return found


def rollback(access: Access, action_id: UUID, reason: str, *, correlation_id: str = "") -> tuple[Action, bool]:
    """
    Undo an action. For a completed one a linked new action is proposed; a failed or held one with effects is rolled
    back itself. Returns the action to look at and whether it is new.
    """
    action = find_action(access, action_id)
    if action.simulated:
        raise OnlySimulated(remedies=["To apply it, propose it again in mode apply."])
    if action.state in UNDOABLE:
        return _propose_undo(access, action, reason, correlation_id), True
    require(access.can("operate", action.environment_id), "Only an operator of the environment may roll a run back.")
    if action.state not in (State.FAILED, State.HELD):
        return moved_or_wrong_state(access, [], action, "rolled back", "Abort it while it runs."), False
    if action.started_at is None or not action.plan:
        raise NothingToUndo
    if action.state == State.HELD:
        resume_verb(action, "rollback", None)
    moved = advance_for(access, action, "roll_back", reason, correlation_id, sets={"rollback_to": ""})
    return moved_or_wrong_state(access, moved, action, "rolled back", ""), False


def _propose_undo(access: Access, action: Action, reason: str, correlation_id: str) -> Action:
    if not action.plan or not action.plan.counts.get("changes"):
        raise NothingToUndo
    require(may_propose_again(access, action), "You may not propose actions like this in this environment.")
    submission = resubmission_of(action, reason or f"Undo of {action.title}")
    submission.title = f"Undo: {action.title}"[:200]
    submission.security_level, submission.checks, submission.accept = action.security_level, [], False
    submission.recovery = {}
    made, _ = submit(access, submission, correlation_id=correlation_id or action.correlation_id, undo_of=action)
    return made

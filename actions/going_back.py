"""Back to a checkpoint: undo what came after one step of a run, and hold there until a person says how to go on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from actions.errors import NothingToUndo, OnlySimulated, WrongState
from actions.ledger import Ledger
from actions.lifecycle import Note, advance, note
from actions.models import Action
from actions.run.no_return import ancestors, is_final
from actions.run.stopping import CHECKPOINT
from actions.settle import way_on
from actions.states import State
from actions.verbs import RUNNING, find, require, words
from audit.errors import Invalid
from tenants.access import Access

MOST_TRIES = 20
"""Each lost one means that the run got on meanwhile."""
MOST_SHOWN = 200


@dataclass(frozen=True)
class Back:
    """A step that a run could go back to: what would be undone, and what could not be."""

    n: int
    key: str
    title: str
    undone: list[str]
    final: list[str]


def back_to(access: Access, action_id: UUID, step: str, reason: str, *, correlation_id: str = "") -> Action:
    """
    Go back to just after a step, and be held there. A run that goes on is stopped first, as by an abort.

    From there a person lets it go on (what was undone is done again), rolls back wholly, or gives up. Raises
    NotAllowed, WrongState, Invalid for a step that the plan lacks, NothingToUndo.
    """
    for _ in range(MOST_TRIES):
        action = find(access, action_id)
        require(
            access.can("operate", action.environment_id), "Only an operator of the environment may take a run back."
        )
        refuse_unreachable(action, step)
        if action.state == State.HELD:
            way_on(action, "rollback", None)
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
        elif asked_to_stop(access, action, step, reason, correlation_id):
            break
    else:
        raise WrongState("The run gets on too fast to be taken back. Try again, or abort it.")
    return find(access, action_id)


def asked_to_stop(access: Access, action: Action, step: str, reason: str, correlation_id: str) -> bool:
    """Leave the wish that the worker obeys at its next checkpoint; False if the run has got on meanwhile."""
    facts: dict[str, Any] = {"back_to": step, **({"via": correlation_id} if correlation_id else {})}
    wish = Note("action.rollback_requested", facts, {"reason": reason} if reason else {})
    sets = {"stop_why": CHECKPOINT, "rollback_to": step}
    return note(action, wish, by=str(access.principal.pk), stop=True, sets=sets)


def refuse_unreachable(action: Action, step: str) -> None:
    """Raise unless the run stands where it can go back to just after this step. One query."""
    if action.simulated:
        raise OnlySimulated
    if action.state not in (*RUNNING, State.HELD):
        raise WrongState(
            f"This action is {words(action.state)}; only one that runs or is held can go back to a checkpoint.",
            remedies=["Roll it back wholly instead, if it has ended."],
        )
    if action.stop_requested_at:
        raise WrongState("It was asked to stop already. Wait until it has, then take it back from there.")
    plan = action.plan
    if plan is None or action.started_at is None:
        raise NothingToUndo
    found = next((s for s in plan.steps if s["key"] == step), None)
    if found is None:
        raise Invalid(f"The plan has no step {step!r}. GET the action: its steps have their keys.")
    ledger = Ledger.of(action.checkpoints.order_by("id"))
    needed = {step, *ancestors(plan.steps, found)} - ledger.settled(plan.steps)
    missing = [s["title"] for s in plan.steps if s["key"] in needed]
    if missing:
        raise WrongState(
            f"{missing[0]} is not done, so there is no checkpoint there.",
            remedies=["Choose a step that is done, together with all that it comes after."],
        )
    if beyond := [s["title"] for s in behind(plan.steps, step) if is_final(s) and ledger[s["key"]].effect]:
        raise WrongState(
            f"{beyond[-1]} came after it and cannot be undone.", remedies=["Choose that step, or a later one."]
        )


def behind(steps: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    """The steps that stand behind one in the plan's order: what going back to it undoes. Pure."""
    keys = [s["key"] for s in steps]
    return steps[keys.index(step) + 1 :]


def ways_back(action: Action, lines: Iterable[Any]) -> list[Back]:
    """The checkpoints that an action could go back to, the nearest first; `lines` are those of its ledger. Pure."""
    plan = action.plan
    if plan is None or action.state not in (*RUNNING, State.HELD) or action.simulated:
        return []
    ledger = Ledger.of(lines)
    done = ledger.settled(plan.steps)
    found: list[Back] = []
    for n, s in reversed(list(enumerate(plan.steps, 1))):
        later = [t for t in plan.steps[n:] if ledger[t["key"]].effect]
        final = [t["title"] for t in later if is_final(t)]
        if final or len(found) >= MOST_SHOWN:
            break
        if s["key"] in done and ancestors(plan.steps, s) <= done and later:
            found.append(Back(n, s["key"], s["title"], [t["title"] for t in reversed(later)], final))
    return found

"""A person's word on a step in doubt: written into the ledger as what it is, a person's word."""

import json
from typing import Any

from django.db import transaction

from actions.errors import WrongState
from actions.ledger import Ledger
from actions.lifecycle import Note, Write, write
from actions.models import Action, Checkpoint
from actions.quarantine import left_behind, set_note
from actions.run.stopping import CHECKPOINT
from audit.models import Event

K = Checkpoint.Kind
WAYS = {"": "resume", "continue": "resume", "rollback": "roll_back", "give_up": "fail"}


def way_on(action: Action, how: str, step_done: bool | None) -> str:
    """
    The move that settles a held action. Raises WrongState where a person's word is missing, or cannot be enough.

    What never began has no valid approval, no before-images and no drift check behind it, so it must not run; a step
    in doubt is neither done again nor left standing on nobody's word; what was held on its way back goes on backward.
    """
    verb = WAYS.get(how)
    if verb is None:
        raise WrongState("Say how: continue, rollback or give_up.")
    if verb == "fail":
        return verb
    if action.started_at is None:
        raise WrongState(
            "This action never began: it was held because what people approved no longer holds.",
            remedies=["Give it up, then propose it again: it is planned and judged afresh."],
        )
    if action.held_reason == "in_doubt" and step_done is None:
        raise WrongState(
            "It is not known whether a step took effect, and nobody has said so yet.",
            remedies=["Look at the target, then resume with `step_done`: true or false. Or give up."],
        )
    if verb == "roll_back" and action.simulated:
        raise WrongState("It is simulated: nothing was changed.", remedies=["Let it go on, or give it up."])
    if verb == "resume" and action.held_reason == CHECKPOINT:
        return verb
    return "roll_back" if was_rolling_back(action) else verb


def left_by(action: Action, how: str, step_done: bool | None) -> dict[str, Any]:
    """
    What else a move that settles a held action writes, as fields of `Write`.

    Who gives up a step in doubt leaves behind what nobody can vouch for: it goes into quarantine. Who rolls back means
    all of it, also where the action was on its way to a checkpoint.
    """
    if how == "rollback":
        return {"sets": {"rollback_to": ""}}
    if how != "give_up" or action.held_reason != "in_doubt" or step_done is not None or action.plan is None:
        return {}
    ledger = Ledger.of(action.checkpoints.order_by("id"))
    records = [(s, ledger[s["key"]]) for s in action.plan.steps]
    doubtful = [
        s for s, r in records if r.state == "open" or (r.state == "failed" and r.facts.get("probe") == "unknown")
    ]
    shut = left_behind(action, action.plan.facts.get("resources", []), doubtful, "in_doubt")
    return {"quarantines": shut, "notes": set_note(shut)}


def _catch_up(action: Action) -> None:
    """
    Lock the action, and go by its newest event: a ticket that was opened meanwhile must not turn a person away.

    Raises WrongState when it is no longer held, or for another reason.
    """
    same = Action.objects.select_for_update().filter(pk=action.pk, state=action.state, held_reason=action.held_reason)
    seq = same.values_list("seq", flat=True).first()
    if seq is None:
        raise WrongState("The action moved on while you looked at it.")
    action.seq = seq


def was_rolling_back(action: Action) -> bool:
    """Whether an action was held on its way back, by the facts of the event that held it. One query."""
    return bool(_held_facts(action).get("from") == "rolling_back")


def _held_facts(action: Action) -> dict[str, Any]:
    held = Event.objects.filter(subject_kind="action", subject_id=action.pk, verb="action.hold").order_by("-seq")
    body = held.values_list("body", flat=True).first()
    return json.loads(bytes(body))["facts"] if body is not None else {}


def settle_step(action: Action, done: bool, *, by: str) -> str:
    """
    Record whether the step in doubt took effect; return its key. Call inside the transaction that resumes the action.

    Done adds its receipt; not done adds a failure without effect, and the step will be tried again. Raises WrongState
    if no step of this action is in doubt.
    """
    with transaction.atomic():
        plan = action.plan
        _catch_up(action)
        ledger = Ledger.of(action.checkpoints.order_by("id"))
        steps = [s["key"] for s in (plan.steps if plan else [])]
        doubtful = [key for key in steps if ledger[key].state in ("failed", "open")]
        if plan is None or not doubtful:
            raise WrongState("No step of this action is in doubt.")
        named = _held_facts(action).get("step")  # what people were told of; others may have failed beside it
        key = str(named) if named in doubtful else doubtful[0]
        kind, attempt = (K.RECEIPT, ledger[key].attempt) if done else (K.FAILURE, ledger[key].attempt + 1)
        facts = {"settled_by": by, "effect": done, "code": "settled"}
        line = Checkpoint(
            action_id=action.pk, plan_id=plan.pk, step=key, attempt=attempt, kind=kind, lease=0, facts=facts
        )
        settled = Note("step.settled", {"step": key, "done": done})
        sets = {"steps_done": ledger.done() + 1} if done else {}
        if not write([Write(action, by=by, notes=[settled], checkpoints=[line], sets=sets)]):
            raise WrongState("The action moved on while you looked at it.")
        return key

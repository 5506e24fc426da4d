"""A person's word on a step in doubt: written into the ledger as what it is, a person's word."""

from django.db import transaction

from actions.errors import WrongState
from actions.ledger import Ledger
from actions.lifecycle import Note, Write, write
from actions.models import Action, Checkpoint

K = Checkpoint.Kind


def settle_step(action: Action, done: bool, *, by: str) -> str:
    """
    Record whether the step in doubt took effect; return its key. Call inside the transaction that resumes the action.

    Done adds its receipt; not done leaves its failure, and the step will be tried again. Raises WrongState if no step
    of this action is in doubt.
    """
    with transaction.atomic():
        plan = action.plan
        ledger = Ledger.of(action.checkpoints.order_by("id"))
        steps = [s["key"] for s in (plan.steps if plan else [])]
        doubtful = [key for key in steps if ledger[key].state in ("failed", "open")]
        if plan is None or not doubtful:
            raise WrongState("No step of this action is in doubt.")
        key = doubtful[0]
        lines = []
        if done:
            facts = {"settled_by": by, "effect": True}
            lines = [
                Checkpoint(
                    action_id=action.pk, plan_id=plan.pk, step=key, attempt=ledger[key].attempt, kind=K.RECEIPT,
                    lease=0, facts=facts,
                )
            ]  # fmt: skip
        settled = Note("step.settled", {"step": key, "done": done})
        sets = {"steps_done": ledger.done() + 1} if done else {}
        if not write([Write(action, by=by, notes=[settled], checkpoints=lines, sets=sets)]):
            raise WrongState("The action moved on while you looked at it.")
        return key

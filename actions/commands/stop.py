"""Cancel or abort an action; and the guarded move that every command makes on behalf of a person."""

from typing import Any
from uuid import UUID

from django.db import transaction

from actions.controls.blockers import blocker_of
from actions.errors import WrongState
from actions.lifecycle.allowed import STOPPABLE, S, describe_state, find_action, may_stop, require
from actions.lifecycle.commit import advance, record_note
from actions.lifecycle.transitions import MOVES, Note
from actions.models import Action
from approvals.requests.lifecycle import cancel_open
from tenants.access import Access

REMEDIES = {
    "freeze": "Unfreeze the environment first; runs held by the freeze then resume automatically.",
    "limit": "Wait until one of them ends, or ask a tenant admin to raise the limit.",
}


def cancel(access: Access, action_id: UUID, reason: str, *, correlation_id: str = "") -> Action:
    """Withdraw an action that has not begun: its requester, or an operator of the environment."""
    action = find_action(access, action_id)
    require(may_stop(access, action), "Only its requester or an operator of the environment may withdraw this action.")
    with transaction.atomic():
        cancel_open([action.pk])
        moved = advance_for(access, action, "cancel", reason, correlation_id)
    return moved_or_wrong_state(
        access, moved, action, "withdrawn", "Abort it instead." if action.state in STOPPABLE else ""
    )


def abort(access: Access, action_id: UUID, reason: str, *, correlation_id: str = "") -> Action:
    """
    Stop an action: before it began it ends cancelled; while it runs a wish is recorded, which the worker obeys at the
    next checkpoint, undoing what was done.
    """
    action = find_action(access, action_id)
    if action.state in MOVES["cancel"].sources:
        return cancel(access, action_id, reason, correlation_id=correlation_id)
    require(access.can("operate", action.environment_id) or may_stop(access, action), "You may not stop this run.")
    wish = Note("action.abort_requested", via_facts(correlation_id), {"reason": reason} if reason else {})
    done = action.state in STOPPABLE and record_note(action, wish, by=str(access.principal.pk), stop=True)
    if not done:
        again = find_action(access, action_id)
        if again.state in STOPPABLE and again.seq != action.seq:
            return abort(access, action_id, reason, correlation_id=correlation_id)
        return moved_or_wrong_state(access, [], again, "aborted", "")
    return find_action(access, action_id)


def via_facts(correlation_id: str) -> dict[str, Any]:
    return {"via": correlation_id} if correlation_id else {}


def advance_for(
    access: Access, action: Action, verb: str, reason: str, correlation_id: str, **more: Any
) -> list[Action]:
    private = {"reason": reason} if reason else {}
    return advance(
        [action.pk],
        verb,
        by=str(access.principal.pk),
        correlation_id=correlation_id,
        private=private,
        facts={"reason_given": bool(reason)},
        **more,
    )


def moved_or_wrong_state(access: Access, moved: list[Action], action: Action, done: str, hint: str) -> Action:
    now = find_action(access, action.pk)
    if not moved:
        remedies = [hint] if hint else []
        if now.state == action.state and now.state in (S.HELD, S.FAILED) and (wait := blocker_of(now)):
            raise WrongState(f"It cannot be {done} now. {wait.words}", remedies=[REMEDIES[wait.why]])
        raise WrongState(f"This action is {describe_state(now.state)}; it cannot be {done} now.", remedies=remedies)
    return now

"""Cancel, abort or resume an action; and the guarded move that every command makes for a person."""

import json
from typing import Any
from uuid import UUID

from django.db import transaction

from actions.controls.blockers import blocker_of
from actions.controls.quarantine import quarantines_for_steps
from actions.errors import WrongState
from actions.lifecycle.allowed import STOPPABLE, describe_state, find_action, may_stop, require
from actions.lifecycle.commit import advance, commit, record_note
from actions.lifecycle.journal import Journal
from actions.lifecycle.transitions import MOVES, Note, Transition, quarantine_notes
from actions.models import Action, JournalEntry
from actions.models.states import State
from actions.run.stop import CHECKPOINT
from approvals.requests.lifecycle import cancel_open
from audit.models import Event
from tenants.access import Access

REMEDIES = {
    "freeze": "Unfreeze the environment first; runs held by the freeze then resume automatically.",
    "limit": "Wait until one of them ends, or ask a tenant admin to raise the limit.",
}


def cancel(access: Access, action_id: UUID, reason: str, *, correlation_id: str = "") -> Action:
    """Withdraw an action that has not started: its requester or an operator of the environment may."""
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
    Stop an action: before its start it is cancelled; while it runs a stop is requested, and the worker rolls back at
    the next checkpoint.
    """
    action = find_action(access, action_id)
    if action.state in MOVES["cancel"].sources:
        return cancel(access, action_id, reason, correlation_id=correlation_id)
    require(access.can("operate", action.environment_id) or may_stop(access, action), "You may not stop this run.")
    stop_note = Note("action.abort_requested", via_facts(correlation_id), {"reason": reason} if reason else {})
    done = action.state in STOPPABLE and record_note(action, stop_note, by=str(access.principal.pk), stop=True)
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
        if now.state == action.state and now.state in (State.HELD, State.FAILED) and (wait := blocker_of(now)):
            raise WrongState(f"It cannot be {done} now. {wait.words}", remedies=[REMEDIES[wait.why]])
        raise WrongState(f"This action is {describe_state(now.state)}; it cannot be {done} now.", remedies=remedies)
    return now


# Resume a held action. A person says whether a step in doubt took effect; the journal records who said so.


Kind = JournalEntry.Kind
RESUME_VERBS = {"": "resume", "continue": "resume", "rollback": "roll_back", "give_up": "fail"}


def resume_verb(action: Action, how: str, step_done: bool | None) -> str:
    """
    The move that resumes a held action. Raises WrongState if a person's answer is missing, or not enough.

    An action that never started has no valid approval, before-images or drift check, so it must not run. A step in
    doubt needs a person's answer before it is repeated or kept. An action that was rolling back continues to roll back.
    """
    verb = RESUME_VERBS.get(how)
    if verb is None:
        raise WrongState("Choose one: continue, rollback or give_up.")
    if verb == "fail":
        return verb
    if action.started_at is None:
        raise WrongState(
            "This action never started: the approved plan is no longer valid.",
            remedies=["Give it up, then propose it again: it is planned and evaluated afresh."],
        )
    if action.held_reason == "in_doubt" and step_done is None:
        raise WrongState(
            "Unknown whether a step took effect; it is not resolved yet.",
            remedies=["Check the target, then resume with `step_done`: true or false, or use give_up."],
        )
    if verb == "roll_back" and action.simulated:
        raise WrongState("This action is simulated: nothing was changed.", remedies=["Resume it, or end it as failed."])
    if verb == "resume" and action.held_reason == CHECKPOINT:
        return verb
    return "roll_back" if was_rolling_back(action) else verb


def resume_fields(action: Action, how: str, step_done: bool | None) -> dict[str, Any]:
    """
    The other fields of the `Transition` that resumes a held action.

    Giving up a step in doubt leaves its resource in an unknown state, so it is quarantined. A rollback covers
    everything, even if the action was rolling back to a checkpoint.
    """
    if how == "rollback":
        return {"sets": {"rollback_to": ""}}
    if how != "give_up" or action.held_reason != "in_doubt" or step_done is not None or action.plan is None:
        return {}
    journal = Journal.of(action.journal_entries.order_by("id"))
    records = [(s, journal[s["key"]]) for s in action.plan.steps]
    doubtful = [
        s for s, r in records if r.state == "open" or (r.state == "failed" and r.facts.get("probe") == "unknown")
    ]
    quarantines = quarantines_for_steps(action, action.plan.facts.get("resources", []), doubtful, "in_doubt")
    return {"quarantines": quarantines, "notes": quarantine_notes(quarantines)}


def _lock_action(action: Action) -> None:
    """
    Lock the action and read its newest seq: an incident opened meanwhile must not refuse the person.

    Raises WrongState if it is no longer held, or held for another reason.
    """
    same = Action.objects.select_for_update().filter(pk=action.pk, state=action.state, held_reason=action.held_reason)
    seq = same.values_list("seq", flat=True).first()
    if seq is None:
        raise WrongState("The action changed state meanwhile.")
    action.seq = seq


def was_rolling_back(action: Action) -> bool:
    """Whether an action was rolling back when it was held, by the facts of that event. One query."""
    return bool(_hold_event_facts(action).get("from") == "rolling_back")


def _hold_event_facts(action: Action) -> dict[str, Any]:
    held = Event.objects.filter(subject_kind="action", subject_id=action.pk, verb="action.hold").order_by("-seq")
    body = held.values_list("body", flat=True).first()
    return json.loads(bytes(body))["facts"] if body is not None else {}


def resolve_step(action: Action, done: bool, *, by: str) -> str:
    """
    Record whether the step in doubt took effect; return its key. Call inside the transaction that resumes the action.

    Done adds its receipt; not done adds a failure without effect, and the step is retried. Raises WrongState if no step
    of this action is in doubt.
    """
    with transaction.atomic():
        plan = action.plan
        _lock_action(action)
        journal = Journal.of(action.journal_entries.order_by("id"))
        steps = [s["key"] for s in (plan.steps if plan else [])]
        doubtful = [key for key in steps if journal[key].state in ("failed", "open")]
        if plan is None or not doubtful:
            raise WrongState("No step of this action is in doubt.")
        named = _hold_event_facts(action).get(
            "step"
        )  # the step that people were told of; others may have failed in parallel
        key = str(named) if named in doubtful else doubtful[0]
        kind, attempt = (Kind.RECEIPT, journal[key].attempt) if done else (Kind.FAILURE, journal[key].attempt + 1)
        facts = {"settled_by": by, "effect": done, "code": "settled"}
        line = JournalEntry(
            action_id=action.pk, plan_id=plan.pk, step=key, attempt=attempt, kind=kind, lease=0, facts=facts
        )
        settled = Note("step.resolved", {"step": key, "done": done})
        sets = {"steps_done": journal.done() + 1} if done else {}
        if not commit([Transition(action, by=by, notes=[settled], journal_entries=[line], sets=sets)]):
            raise WrongState("The action changed state meanwhile.")
        return key


def resume(
    access: Access,
    action_id: UUID,
    reason: str,
    *,
    how: str = "",
    step_done: bool | None = None,
    correlation_id: str = "",
) -> Action:
    """
    Resume a held action: `continue` (forward, or backward if it was rolling back), `rollback` or `give_up`.

    A step in doubt needs `step_done`, the person's finding: True records its receipt, False retries it. An action held
    before its start can only be given up. Raises WrongState, NotAllowed.
    """
    action = find_action(access, action_id)
    require(
        access.can("operate", action.environment_id), "Only an operator of the environment may resolve a held action."
    )
    if action.state != State.HELD:
        return moved_or_wrong_state(access, [], action, "resumed", "Only a held action can be resumed.")
    verb = resume_verb(action, how, step_done)
    with transaction.atomic():
        if step_done is not None:
            resolve_step(action, step_done, by=str(access.principal.pk))
        moved = advance_for(access, action, verb, reason, correlation_id, **resume_fields(action, how, step_done))
    return moved_or_wrong_state(access, moved, action, "resumed", "Only a held action can be resumed.")

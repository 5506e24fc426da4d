"""The workflow of an approved action: start, steps, verification or rollback."""

import time
from collections.abc import Generator
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings

from actions.controls.quarantine import describe_quarantines, serialize_quarantines, touched_quarantines
from actions.lifecycle.context import ActionContext, EffectResult, RunEffect, Workflow, commit_durably, lock_requests_of
from actions.lifecycle.transitions import Note, Transition
from actions.models import Quarantine
from actions.models.states import State
from actions.preflight.plan import PlannedAction, encrypt_before_images, remake_plan, with_stored_plan
from actions.preflight.workflow import (
    build_request,
    changed_verdict_notes,
    plan_note,
    plan_refused_transition,
    plan_transition,
    verdict_note,
)
from actions.run.attempt import intent_entry
from actions.run.retry import counted_steps
from actions.run.rollback import roll_back
from actions.run.simulation import load_intended
from actions.run.steps import MAX_PARALLEL_STEPS, ready_steps, run_steps
from actions.run.verify import startable_steps, verify
from approvals.models import Request
from approvals.requests.decisions import is_quorum_met
from approvals.verdict import is_stricter
from tenants.models import Principal


def run_action(context: ActionContext) -> Workflow:
    """Run an action from its current state and journal."""
    action = context.action
    if action.undo_of_id:
        context.undone = context.before_images(action.undo_of_id)
    if action.state == State.APPROVED and not (yield from start(context)):
        return
    if action.simulated and action.state == State.IN_PROGRESS:
        context.intended = load_intended(context)
    if action.state == State.IN_PROGRESS:
        yield from run_steps(context, time.monotonic() + action.timeout_s)
    if action.state == State.VERIFYING:
        yield from verify(context)
    if action.state == State.ROLLING_BACK:
        yield from roll_back(context)


# Before the first step: plan and evaluate again; request approval again if anything differs.


ACTOR = "system:execute"
MAX_REPLANS = 3


def start(context: ActionContext) -> Generator[Transition | RunEffect, Any, bool]:
    """Move an approved action to in_progress if all is as approved; else move it elsewhere and return False."""
    action = context.action
    if not has_active_owner(action.requester):
        yield from commit_durably(context, lambda: inactive_requester_transition(context))
        return False
    if quarantines := quarantines_in_the_plan(context):
        yield from commit_durably(context, lambda: quarantined_transition(context, quarantines))
        return False
    result: EffectResult = yield RunEffect(partial(remake_plan, context))
    if result.error is not None:
        yield from commit_durably(context, lambda: plan_refused_transition(context, result.error, by=ACTOR))
        return False
    new: PlannedAction = result.value
    context.facts = new.facts
    drifted = new.plan.digest != context.plan.digest
    old = context.plan.verdict
    tighter = is_stricter(new.verdict, old["required_approvals"], old["outcome"])
    lapsed = (
        bool(old["required_approvals"])
        and new.verdict.outcome == "require_approval"
        and not is_quorum_valid(action.pk, context.plan.digest)
    )
    accepted_any_diff = new.verdict.outcome == "allow" and not tighter
    if (drifted and not accepted_any_diff) or tighter or lapsed:
        if not drifted:
            new = with_stored_plan(context, new, context.plan.version + 1)
        yield from commit_durably(context, lambda: reopen_transition(context, new, drifted=drifted, lapsed=lapsed))
        return False
    images = EffectResult([])
    if new.images and not context.action.simulated:
        images = yield RunEffect(partial(encrypt_before_images, context, new.images))
    if images.error is not None:
        raise images.error
    if drifted:
        yield from commit_durably(context, lambda: new_plan_transition(context, new))
    again = changed_verdict_notes(context, new.verdict, new.facts, "start")
    started = yield from commit_durably(context, lambda: start_transition(context, images.value, again))
    context.has_locks = not started.is_blocked
    return context.has_locks


def has_active_owner(requester: Principal) -> bool:
    """Whether the requester, and an agent's owner, are active."""
    return requester.is_active and (requester.owner is None or requester.owner.is_active)


def inactive_requester_transition(context: ActionContext) -> Transition:
    """The transition that fails an action whose requester's account is no longer active."""
    message = "The requester's account, or its owner's, is no longer active. Another person can propose it again."
    error = {"code": "requester_inactive", "message": message, "details": {}}
    return Transition(
        context.action,
        "fail",
        by=ACTOR,
        facts={"code": "requester_inactive"},
        outcome="failed",
        sets={"error": error},
        release=True,
    )


def quarantines_in_the_plan(context: ActionContext) -> list[Quarantine]:
    """The quarantines of resources that a run would change; none for a run that changes nothing."""
    return (
        touched_quarantines(context.action, context.facts.get("resources", []), context.quarantines)
        if context.changes_something
        else []
    )


def quarantined_transition(context: ActionContext, quarantines: list[Quarantine]) -> Transition:
    """The transition that fails an action on a quarantined resource."""
    message = (
        f"{describe_quarantines(quarantines)} Have it cleared on the page Quarantine, then propose this action again."
    )
    error = {"code": "quarantined", "message": message, "details": {"quarantines": serialize_quarantines(quarantines)}}
    facts = {"code": "quarantined", "quarantines": [str(q.pk) for q in quarantines]}
    return Transition(
        context.action, "fail", by=ACTOR, facts=facts, outcome="failed", sets={"error": error}, release=True
    )


def is_quorum_valid(action_id: UUID, digest: str) -> bool:
    """Whether the newest request for exactly this plan still has its quorum, counted again now."""
    request = Request.objects.filter(subject_kind="action", subject_id=action_id).order_by("-opened_at", "-id").first()
    if request is None or request.digest != digest:
        return False
    return request.state == Request.State.APPROVED and is_quorum_met(request)


def start_transition(context: ActionContext, images: list[Any], notes: list[Note]) -> Transition:
    """The transition to in_progress, with before-images and the first intents; `notes` record the verdict."""
    action = context.action
    first = startable_steps(context, ready_steps(context.steps, set(), set()), 0)[:MAX_PARALLEL_STEPS]
    lines = [intent_entry(context, step) for step in first]
    undoable = context.changes_something and context.plan.counts.get("changes")
    reference = f"the state before plan {context.plan.digest}" if undoable else ""
    return Transition(
        action,
        "start",
        by=ACTOR,
        facts={"digest": context.plan.digest, "steps": len(context.steps)},
        notes=list(notes),
        journal_entries=lines,
        before_images=images,
        sets={"rollback_reference": reference},
        lock_requests=lock_requests_of(context),
    )


def new_plan_transition(context: ActionContext, new: PlannedAction) -> Transition:
    """The transition that replaces the plan of an action accepted in advance; no approval is involved."""
    changed = changed_targets(context, new)
    drift = Note("preflight.drifted", {"from": context.plan.digest, "to": new.plan.digest, "changed": changed})
    return Transition(
        context.action,
        by=ACTOR,
        notes=[drift, plan_note(new.plan), verdict_note(new)],
        plan=new.plan,
        packs=new.packs,
        sets={"replans": context.action.replans + 1, "steps_total": len(counted_steps(new.plan.steps))},
    )


def reopen_transition(context: ActionContext, new: PlannedAction, *, drifted: bool, lapsed: bool) -> Transition:
    """
    The transition that voids approvals and requests them again; deny if the verdict does; hold after three re-plans.
    """
    action, verdict = context.action, new.verdict
    if verdict.outcome == "deny":
        message = "; ".join(r["message"] for r in verdict.reasons if r["effect"] == "deny")
        error = {"code": "denied_at_start", "message": message, "details": {}}
        return plan_transition(context, new, "fail", by=ACTOR, error=error)
    if action.replans >= MAX_REPLANS:
        facts = {"reason": "replans", "replans": action.replans}
        return Transition(action, "hold", by=ACTOR, facts=facts, sets={"held_reason": "replans"}, release=True)
    why = "drift" if drifted else "lapsed" if lapsed else "stricter"
    request = build_request(context, new)
    transition = plan_transition(context, new, "reopen", by=ACTOR, replans=action.replans + 1)
    transition.request, transition.ttl_s = request, settings.INTERLOCK.approval_ttl_s
    transition.facts = {
        "because": why,
        "request": str(request.pk),
        "required_approvals": verdict.required_approvals,
        "acceptance": verdict.acceptance,
    }
    if drifted:
        facts = {"from": context.plan.digest, "to": new.plan.digest, "changed": changed_targets(context, new)}
        transition.notes.insert(0, Note("preflight.drifted", facts))
    return transition


def changed_targets(context: ActionContext, new: PlannedAction) -> list[dict[str, Any]]:
    """The targets that changed since the approved plan, by the steps' preconditions."""
    old = {s["target"]: s["precondition"] for s in context.steps}
    now = {s["target"]: s["precondition"] for s in new.plan.steps}
    return [
        {"target": target, "was": old.get(target), "now": now.get(target)}
        for target in sorted(old.keys() | now.keys())
        if old.get(target) != now.get(target)
    ]

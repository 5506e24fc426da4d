"""The preflight workflow: plan, evaluate, and request what the verdict requires."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.conf import settings

from actions.controls.quarantine import serialize_quarantines, touched_quarantines
from actions.lifecycle.commit import action_subject
from actions.lifecycle.context import ActionContext, EffectResult, RunEffect, Workflow, commit_durably
from actions.lifecycle.transitions import Note, Transition
from actions.models.states import State
from actions.preflight.plan import PlannedAction, make_plan, sanitize
from actions.types.protocol import PlanRefused
from approvals.models import Request
from approvals.policies.apply import facts_digest
from approvals.requests.lifecycle import draft_request
from approvals.verdict import Verdict
from tenants.access import delegation_chain

ACTOR = "system:decide"


def preflight(context: ActionContext) -> Workflow:
    """
    Take a queued action to denied, awaiting_approval or approved; fail it with the reason if it cannot be planned.
    """
    action = context.action
    if action.state == State.QUEUED:
        yield from commit_durably(context, lambda: Transition(action, "preflight", by=ACTOR))
    if action.undo_of_id:
        context.undone = context.before_images(action.undo_of_id)
    result: EffectResult = yield RunEffect(partial(make_plan, context, 1))
    if result.error is not None:
        yield from commit_durably(context, lambda: plan_refused_transition(context, result.error, by=ACTOR))
        return
    yield from commit_durably(context, lambda: verdict_transition(context, result.value))


def verdict_transition(context: ActionContext, planned: PlannedAction) -> Transition:
    """The transition that stores a plan with its verdict and moves the action accordingly."""
    verdict = planned.verdict
    note_quarantines(context, planned)
    if verdict.outcome == "deny":
        reason = next((r for r in verdict.reasons if r["effect"] == "deny"), {"message": "denied"})
        error = {"code": "denied", "message": reason["message"], "details": {"rule": reason.get("rule", "")}}
        return plan_transition(context, planned, "deny", by=ACTOR, error=error)
    if verdict.outcome == "require_approval":
        request = build_request(context, planned)
        transition = plan_transition(context, planned, "await_approval", by=ACTOR)
        transition.request, transition.ttl_s = request, settings.INTERLOCK.approval_ttl_s
        transition.facts = {
            "request": str(request.pk),
            "required_approvals": verdict.required_approvals,
            "acceptance": verdict.acceptance,
        }
        return transition
    transition = plan_transition(context, planned, "approve", by=ACTOR)
    wait_s = max(0, (context.action.not_before - datetime.now(UTC)).total_seconds()) if context.action.not_before else 0
    transition.ttl_s = int(wait_s) + settings.INTERLOCK.approval_ttl_s
    transition.facts = {"because": "the matrix row asks for no required approval"}
    return transition


def note_quarantines(context: ActionContext, planned: PlannedAction) -> None:
    """Note the plan's quarantined resources for approvers: the run fails unless they are cleared."""
    quarantines = (
        touched_quarantines(context.action, planned.facts["resources"], context.quarantines)
        if context.changes_something
        else []
    )
    if quarantines:
        planned.plan.observations = {**planned.plan.observations, "quarantine": serialize_quarantines(quarantines)}


def plan_transition(context: ActionContext, planned: PlannedAction, verb: str, *, by: str, **sets: Any) -> Transition:
    """A transition that stores a plan, its artifacts and its verdict, and releases the action."""
    plan, verdict = planned.plan, planned.verdict
    return Transition(
        context.action,
        verb,
        by=by,
        notes=[plan_note(plan), verdict_note(planned)],
        sets={
            "requires_approval": bool(verdict.required_approvals),
            "blast_score": verdict.blast.score,
            "tier": verdict.tier,
            "steps_total": sum(not s.get("fallback_for") for s in plan.steps),
            **sets,
        },
        plan=plan,
        packs=planned.packs,
        release=True,
    )


def plan_note(plan: Any, verb: str = "preflight.planned", **facts: Any) -> Note:
    known = {"digest": plan.digest, "version": plan.version, "counts": plan.counts, **facts}
    return Note(verb, known, artifacts=(plan.document, plan.changes))


def verdict_note(planned: PlannedAction) -> Note:
    verdict = planned.verdict
    facts = {"digest": planned.plan.digest, "facts_sha256": planned.plan.verdict["facts_sha256"]}
    return Note("policy.evaluated", {**facts, **vars(verdict), "blast": vars(verdict.blast)})


def changed_verdict_notes(context: ActionContext, verdict: Verdict, facts: dict[str, Any], at: str) -> list[Note]:
    """A note of a later verdict, if its policies, versions or outcome differ. Pure."""
    known = context.plan.verdict
    if (verdict.outcome, verdict.policy_results) == (known["outcome"], known.get("policy_results", [])):
        return []
    told = {"digest": context.plan.digest, "facts_sha256": facts_digest(facts), "at": at}
    return [Note("policy.evaluated", {**told, **vars(verdict), "blast": vars(verdict.blast)})]


def build_request(context: ActionContext, planned: PlannedAction) -> Request:
    """
    The request of the verdict; the requester and everyone in its delegation chain are excluded.

    Its times are set from the database's clock when it is written.
    """
    action = context.action
    return draft_request(
        tenant_id=action.tenant_id,
        environment_id=action.environment_id,
        subject=action_subject(action),
        digest=planned.plan.digest,
        verdict=planned.verdict,
        requester=action.requester,
        excluded=delegation_chain(action.requester),
        at=datetime.now(UTC),
        ttl_s=settings.INTERLOCK.approval_ttl_s,
    )


def plan_refused_transition(context: ActionContext, error: BaseException | None, *, by: str) -> Transition:
    """The transition that fails an action that cannot be planned."""
    if isinstance(error, PlanRefused):
        issues = [asdict(i) for i in error.issues]
        found = {"code": "plan_refused", "message": str(error), "details": {"issues": issues}}
    else:
        words = f"{type(error).__name__}: {error}"
        found = {"code": "executor_error", "message": f"The executor could not make a plan: {words}", "details": {}}
    found = sanitize(found)
    private = {"message": found["message"]}
    return Transition(
        context.action,
        "fail",
        by=by,
        facts={"code": found["code"]},
        private=private,
        outcome="failed",
        sets={"error": found},
        release=True,
    )

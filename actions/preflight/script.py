"""Preflight, as one piece of linear code: plan, judge, and ask for what the verdict wants."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.conf import settings

from actions.case import Case, Effect, Result, Script, durably
from actions.lifecycle import Note, Write, subject_of
from actions.preflight.planning import Rehearsal, rehearse
from actions.quarantine import told, touched
from actions.states import State
from actions.storable import storable
from actions.types.protocol import PlanRefused
from approvals.models import Request
from approvals.policies.apply import facts_digest
from approvals.requests.lifecycle import draft_request
from approvals.verdict import Verdict
from tenants.access import delegation_chain

BY = "system:decide"


def preflight(case: Case) -> Script:
    """Take a queued action to denied, awaiting_approval or approved; a plan that cannot be made fails it, with why."""
    action = case.action
    if action.state == State.QUEUED:
        yield from durably(case, lambda: Write(action, "preflight", by=BY))
    if action.undo_of_id:
        case.undone = case.before_images(action.undo_of_id)
    result: Result = yield Effect(partial(rehearse, case, 1))
    if result.error is not None:
        yield from durably(case, lambda: refused(case, result.error, by=BY))
        return
    yield from durably(case, lambda: judged(case, result.value))


def judged(case: Case, rehearsal: Rehearsal) -> Write:
    """The write that stores a plan with its verdict and moves the action where the verdict says."""
    verdict = rehearsal.verdict
    warn_of_quarantine(case, rehearsal)
    if verdict.outcome == "deny":
        reason = next((r for r in verdict.reasons if r["effect"] == "deny"), {"message": "denied"})
        error = {"code": "denied", "message": reason["message"], "details": {"rule": reason.get("rule", "")}}
        return planned(case, rehearsal, "deny", by=BY, error=error)
    if verdict.outcome == "require_approval":
        request = request_for(case, rehearsal)
        w = planned(case, rehearsal, "await_approval", by=BY)
        w.request, w.ttl_s = request, settings.INTERLOCK.approval_ttl_s
        w.facts = {
            "request": str(request.pk),
            "required_approvals": verdict.required_approvals,
            "acceptance": verdict.acceptance,
        }
        return w
    w = planned(case, rehearsal, "approve", by=BY)
    wait_s = max(0, (case.action.not_before - datetime.now(UTC)).total_seconds()) if case.action.not_before else 0
    w.ttl_s = int(wait_s) + settings.INTERLOCK.approval_ttl_s
    w.facts = {"because": "the matrix row asks for no required approval"}
    return w


def warn_of_quarantine(case: Case, rehearsal: Rehearsal) -> None:
    """Tell approvers beside the plan what of it is in quarantine: unless that is cleared meanwhile, it is refused."""
    shut = touched(case.action, rehearsal.facts["resources"], case.quarantines) if case.changes_something else []
    if shut:
        rehearsal.plan.observations = {**rehearsal.plan.observations, "quarantine": told(shut)}


def planned(case: Case, rehearsal: Rehearsal, verb: str, *, by: str, **sets: Any) -> Write:
    """A write that stores a plan, its artifacts and its verdict together with a move, and lets the action go."""
    plan, verdict = rehearsal.plan, rehearsal.verdict
    return Write(
        case.action,
        verb,
        by=by,
        notes=[plan_note(plan), verdict_note(rehearsal)],
        sets={
            "requires_approval": bool(verdict.required_approvals),
            "blast_score": verdict.blast.score,
            "tier": verdict.tier,
            "steps_total": sum(not s.get("fallback_for") for s in plan.steps),
            **sets,
        },
        plan=plan,
        packs=rehearsal.packs,
        release=True,
    )


def plan_note(plan: Any, verb: str = "preflight.planned", **facts: Any) -> Note:
    known = {"digest": plan.digest, "version": plan.version, "counts": plan.counts, **facts}
    return Note(verb, known, artifacts=(plan.document, plan.changes))


def verdict_note(rehearsal: Rehearsal) -> Note:
    verdict = rehearsal.verdict
    facts = {"digest": rehearsal.plan.digest, "facts_sha256": rehearsal.plan.verdict["facts_sha256"]}
    return Note("policy.evaluated", {**facts, **vars(verdict), "blast": vars(verdict.blast)})


def judged_again(case: Case, verdict: Verdict, facts: dict[str, Any], at: str) -> list[Note]:
    """A note of a verdict that came later than the plan's, if another policy, version or outcome is in it. Pure."""
    known = case.plan.verdict
    if (verdict.outcome, verdict.policy_results) == (known["outcome"], known.get("policy_results", [])):
        return []
    told = {"digest": case.plan.digest, "facts_sha256": facts_digest(facts), "at": at}
    return [Note("policy.evaluated", {**told, **vars(verdict), "blast": vars(verdict.blast)})]


def request_for(case: Case, rehearsal: Rehearsal) -> Request:
    """
    The request that the verdict asks for; the requester and everyone in its delegation chain are excluded.

    Its times are set from the database's clock when it is written.
    """
    action = case.action
    return draft_request(
        tenant_id=action.tenant_id,
        environment_id=action.environment_id,
        subject=subject_of(action),
        digest=rehearsal.plan.digest,
        verdict=rehearsal.verdict,
        requester=action.requester,
        excluded=delegation_chain(action.requester),
        at=datetime.now(UTC),
        ttl_s=settings.INTERLOCK.approval_ttl_s,
    )


def refused(case: Case, error: BaseException | None, *, by: str) -> Write:
    """The write that fails an action whose plan cannot be made."""
    if isinstance(error, PlanRefused):
        issues = [asdict(i) for i in error.issues]
        found = {"code": "plan_refused", "message": str(error), "details": {"issues": issues}}
    else:
        words = f"{type(error).__name__}: {error}"
        found = {"code": "executor_error", "message": f"The executor could not make a plan: {words}", "details": {}}
    found = storable(found)
    private = {"message": found["message"]}
    return Write(
        case.action,
        "fail",
        by=by,
        facts={"code": found["code"]},
        private=private,
        outcome="failed",
        sets={"error": found},
        release=True,
    )

"""Actions as the API shows them: a fixed number of queries, for one or for a page."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from actions.controls.blockers import Blocker, find_blockers
from actions.controls.resource_locks import blocking_locks_of_waiting
from actions.lifecycle.allowed import move_verbs
from actions.lifecycle.journal import Journal
from actions.models import Action, JournalEntry, Plan, ResourceLock
from actions.models.states import ENDED, SEED_VOCABULARY
from actions.preflight.duration_estimate import duration_estimate, known_runs, step_estimates
from actions.preflight.step_graph import build_rollback_plan
from actions.queries.approval_status import ApprovalStatus, describe_blockers, fetch_approval_status
from actions.run.transcript import total_usage, usage_by_step
from approvals.quorum.eligibility import suggested_approvers
from tenants.access import Access, visible_to
from tenants.models import Principal

HEAVY_FIELDS = ("parameters", "checks", "recovery", "rollback", "watch", "reason", "result", "error")
HEAVY_PLAN_FIELDS = (
    "plan__steps",
    "plan__recovery",
    "plan__rollback",
    "plan__summary",
    "plan__observations",
    "plan__blast",
)
"""Columns that a list must not read: parameters and steps may be megabytes."""

STEP_FIELDS = (
    "key",
    "title",
    "target",
    "operation",
    "after",
    "precondition",
    "compensation",
    "idempotency_key",
    "fallback_for",
    "may_skip",
)

JOURNAL_FIELDS = ("step", "attempt", "kind", "at", "facts", "metrics")


def light_actions(access: Access) -> QuerySet[Action, Any]:
    """The actions that the caller may view, without large columns, joined for `page`."""
    joined = Action.objects.select_related("environment", "requester__owner", "plan")
    return visible_to(joined.defer(*HEAVY_FIELDS, *HEAVY_PLAN_FIELDS), access)


def serialize_actions(access: Access, actions: Sequence[Action], vocabulary: str = "") -> list[dict[str, Any]]:
    """The rows of a list. Ten queries and the clock at most, for any number of actions."""
    waiting, behind, waits = (
        fetch_approval_status(actions, access),
        blocking_locks_of_waiting(actions),
        find_blockers(actions),
    )
    return [
        serialize_row(access, a, waiting.get(a.pk), vocabulary, behind.get(a.pk, ()), waits.get(a.pk, ()))
        for a in actions
    ]


def serialize_action(access: Access, action: Action, vocabulary: str = "") -> dict[str, Any]:
    """An action with everything about it; `action` as `verbs.find` returns it. Seven queries and the clock at most."""
    it = fetch_approval_status([action], access).get(action.pk)
    behind, waits = blocking_locks_of_waiting([action]).get(action.pk, ()), find_blockers([action]).get(action.pk, ())
    shown = serialize_row(access, action, it, vocabulary, behind, waits)
    related = Q(retry_of=action) | Q(undo_of=action) | Q(fallback_of=action)
    linked = Action.objects.filter(related, tenant=action.tenant_id).order_by("pk")
    for pk, undo_of, fallback_of in linked.values_list("pk", "undo_of", "fallback_of"):
        kind = "undos" if undo_of == action.pk else "fallbacks" if fallback_of == action.pk else "retries"
        shown["links"][kind] = [*shown["links"].get(kind, []), f"/api/actions/{pk}"]
    plan = action.plan
    return {
        **shown,
        "reason": action.reason,
        "parameters": action.parameters,
        "checks": action.checks,
        "timeout_s": action.timeout_s,
        "watch": action.watch,
        "stop_requested_at": action.stop_requested_at,
        "stop_reason": action.stop_reason or None,
        "rollback_to": action.rollback_to or None,
        "plan": serialize_plan(plan) if plan else None,
        "approvals": _serialize_approvals(it),
        "verdicts": plan.verdict.get("reasons", []) if plan else [],
        "progress": {**shown["progress"], **_serialize_estimate(action)},
        **_serialize_run(action),
        "result": _serialize_result(action),
    }


def serialize_row(
    access: Access,
    action: Action,
    it: ApprovalStatus | None,
    vocabulary: str,
    behind: Sequence[ResourceLock] = (),
    waits: Sequence[Blocker] = (),
) -> dict[str, Any]:
    return {
        "id": action.pk,
        "title": action.title,
        "type": action.type,
        "skill_id": None,
        "environment": action.environment.slug,
        "target": action.target,
        "requester": serialize_principal(action.requester),
        "proposed_by": action.requester.username,
        "state": state_name(action.state, vocabulary),
        "held_reason": action.held_reason or None,
        "seq": action.seq,
        "security_level": action.security_level,
        "risk_level": action.risk_class,
        "tier": action.tier or None,
        "requires_approval": action.requires_approval,
        "autonomous_eligible": is_autonomous(action.plan),
        "confidence": action.confidence,
        "simulated": action.simulated,
        "priority": action.priority,
        "correlation_id": action.correlation_id,
        "ticket": action.ticket or None,
        "external_url": action.external_url or None,
        "created_at": action.created_at,
        "approved_at": action.approved_at,
        "started_at": action.started_at,
        "completed_at": action.completed_at,
        "expires_at": action.expires_at,
        "not_before": action.not_before,
        "progress": {"done": action.steps_done, "total": action.steps_total},
        "rollback_reference": action.rollback_reference or None,
        "allowed": [
            *(it.verbs if it and action.state == "awaiting_approval" else []),
            *move_verbs(access, action),
            *(it.withdrawals if it and action.state in ("awaiting_approval", "approved") else []),
        ],
        "blocked_by": describe_blockers(action, it, behind, waits),
        "links": _links(action),
    }


def serialize_principal(principal: Principal) -> dict[str, Any]:
    """A principal as the API names it; `owner` must be joined."""
    owner = principal.owner
    return {
        "id": principal.pk,
        "username": principal.username,
        "name": str(principal),
        "kind": principal.kind,
        "owner": owner.username if owner else None,
    }


def state_name(state: str, vocabulary: str) -> str:
    """A state in the vocabulary that the caller chose."""
    return SEED_VOCABULARY.get(state, state) if vocabulary == "seed" else str(state)


def is_autonomous(plan: Plan | None) -> bool:
    """Whether the verdict lets this plan run without any person."""
    return bool(plan) and plan.verdict.get("outcome") == "allow" and not plan.counts.get("changes")  # type: ignore[union-attr]


def serialize_plan(plan: Plan) -> dict[str, Any]:
    return {
        "version": plan.version,
        "digest": plan.digest,
        "summary": plan.summary,
        "blast": plan.blast,
        "counts": plan.counts,
        "steps": [{key: step[key] for key in STEP_FIELDS if key in step} for step in plan.steps],
        "rollback": plan.rollback or build_rollback_plan(plan.steps, {}, {}),
        "recovery": plan.recovery,
        "created_at": plan.created_at,
    }


def _serialize_approvals(it: ApprovalStatus | None) -> dict[str, Any]:
    nothing: dict[str, Any] = {"kind": None, "state": None, "digest": None, "needed": 0, "have": 0}
    if it is None:
        return {
            **nothing,
            "required_approvals": [],
            "decisions": [],
            "change_requests": [],
            "suggested": [],
            "expires_at": None,
        }
    request, counted = it.request, it.counted
    filled = [len(row) for row in counted.rows]
    return {
        "kind": request.kind,
        "state": request.state,
        "digest": request.digest,
        "needed": sum(required["count"] for required in request.required_approvals),
        "have": sum(filled),
        "required_approvals": [
            {**required, "filled": n} for required, n in zip(request.required_approvals, filled, strict=True)
        ],
        "decisions": [
            {
                **{k: getattr(d, k) for k in ("approved", "role", "digest", "comment", "at")},
                "plan_view": d.plan_view or None,
                "by": serialize_principal(d.principal),
            }
            for d in counted.decisions
        ],
        "change_requests": [
            {
                **{k: getattr(a, k) for k in ("role", "digest", "comment", "at", "counts")},
                "by": serialize_principal(a.principal),
            }
            for a in it.change_requests
        ],
        "suggested": _serialize_suggested(it),
        "expires_at": request.expires_at,
    }


def _serialize_suggested(it: ApprovalStatus) -> list[dict[str, Any]]:
    """Three queries and the clock, for an open request; none else."""
    found = suggested_approvers(it.request, it.counted)
    ids = {one.principal for people in found.values() for one in people}
    names = {p.pk: p for p in Principal.objects.filter(pk__in=ids).select_related("owner")} if ids else {}
    return [
        {
            "role": role,
            "people": [
                {
                    "by": serialize_principal(names[s.principal]),
                    "decisions": s.decisions,
                    "median_response_s": s.median_s,
                    "last_at": s.last_at,
                }
                for s in people
                if s.principal in names
            ],
        }
        for role, people in found.items()
    ]


def _serialize_estimate(action: Action) -> dict[str, Any]:
    estimate = duration_estimate(action, timezone.now())
    if estimate is None:
        return {"runs": known_runs(action), "expected_s": None, "p90_s": None, "remaining_s": None}
    return {
        "runs": estimate.runs,
        "expected_s": estimate.expected_s,
        "p90_s": estimate.p90_s,
        "remaining_s": estimate.left_s,
    }


def _serialize_run(action: Action) -> dict[str, Any]:
    """The steps of the plan with their results, and the total usage of all attempts. One query, once it started."""
    if not action.plan:
        return {"steps": [], "metrics": None}
    found = (
        JournalEntry.objects.filter(action=action).order_by("id").values(*JOURNAL_FIELDS) if action.started_at else []
    )
    lines = [JournalEntry(**line) for line in found]
    journal, used, paces = Journal.of(lines), usage_by_step(lines), step_estimates(action)
    steps = [_serialize_step(planned, journal, used) for planned in action.plan.steps]
    for n, step in enumerate(steps):
        step["expected_s"], step["p90_s"] = paces[n] if paces else (None, None)
    return {
        "steps": steps,
        "metrics": total_usage([one for each in used.values() for one in each]),
    }


def _serialize_step(planned: dict[str, Any], journal: Journal, used: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    record = journal[planned["key"]]
    shown = record.shown(timezone.now())
    return {
        **{key: planned.get(key, "") for key in ("key", "title", "target", "operation")},
        "state": shown,
        "attempts": record.attempt,
        "retry_count": max(0, record.attempt - 1),
        "next_try_at": record.retry_at if shown == "waiting" else None,
        "fallback_for": planned.get("fallback_for"),
        "undo_attempts": record.undo_attempt,
        "compensation": planned.get("compensation", {}),
        "facts": record.facts,
        "metrics": total_usage(used.get(planned["key"], [])),
        "started_at": record.started_at,
        "ended_at": record.ended_at,
    }


def _serialize_result(action: Action) -> dict[str, Any] | None:
    """Null until the action has ended; then whether it succeeded, and if not, why."""
    if action.state not in ENDED:
        return None
    stored = action.result or {}
    error = stored.get("error") or action.error
    if action.state != "completed" and not error:
        words = str(action.state).replace("_", " ")
        error = {"code": str(action.state), "message": f"The action was {words}.", "details": {}}
    success, skipped = action.state == "completed", stored.get("skipped", [])
    return {"success": success, "data": stored.get("data"), "error": error, "skipped": skipped}


def _links(action: Action) -> dict[str, Any]:
    here = f"/api/actions/{action.pk}"
    links: dict[str, Any] = {
        "self": here,
        "page": f"/actions/{action.pk}/",
        "plan": f"{here}/plan",
        "changes": f"{here}/changes",
        "events": f"{here}/events",
        "log": f"{here}/log",
        "evidence": f"{here}/evidence",
    }
    if action.retry_of_id:
        links["retry_of"] = f"/api/actions/{action.retry_of_id}"
    if action.undo_of_id:
        links["undo_of"] = f"/api/actions/{action.undo_of_id}"
    if action.fallback_of_id:
        links["fallback_of"] = f"/api/actions/{action.fallback_of_id}"
    return links

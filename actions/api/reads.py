"""Actions as the API shows them: a fixed number of queries, for one or for a page."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from actions.api.caller import access_of
from actions.api.waiting import Waiting, in_words, waiting_for
from actions.ledger import Ledger
from actions.locks import queued_up
from actions.models import Action, Checkpoint, Plan, ResourceClaim
from actions.pace import pace_of, runs_known, steps_of
from actions.preflight.way_back import way_back
from actions.run.metrics import total_of, used_by
from actions.scheduling.waits import Wait, waits_of
from actions.states import ENDED, SEED_VOCABULARY
from actions.verbs import moves_open_to
from approvals.quorum.suggested_approvers import suggested_approvers
from tenants.access import Access, visible_to
from tenants.models import Principal

HEAVY = ("parameters", "checks", "recovery", "rollback", "watch", "reason", "result", "error")
PLAN_HEAVY = ("plan__steps", "plan__recovery", "plan__rollback", "plan__summary", "plan__observations", "plan__blast")
"""What a list must not read: parameters and steps alone may be megabytes."""

OF_A_STEP = (
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

OF_A_LINE = ("step", "attempt", "kind", "at", "facts", "metrics")


def rows_of(access: Access) -> QuerySet[Action, Any]:
    """The actions that the caller may view, light, joined for `page`."""
    joined = Action.objects.select_related("environment", "requester__owner", "plan")
    return visible_to(joined.defer(*HEAVY, *PLAN_HEAVY), access)


def page(access: Access, actions: Sequence[Action], vocabulary: str = "") -> list[dict[str, Any]]:
    """The rows of a list. Ten queries and the clock at most, whatever the number of actions."""
    waiting, behind, waits = waiting_for(actions, access), queued_up(actions), waits_of(actions)
    return [row(access, a, waiting.get(a.pk), vocabulary, behind.get(a.pk, ()), waits.get(a.pk, ())) for a in actions]


def one(access: Access, action: Action, vocabulary: str = "") -> dict[str, Any]:
    """An action with everything about it; `action` as `verbs.find` returns it. Seven queries and the clock at most."""
    it = waiting_for([action], access).get(action.pk)
    behind, waits = queued_up([action]).get(action.pk, ()), waits_of([action]).get(action.pk, ())
    shown = row(access, action, it, vocabulary, behind, waits)
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
        "stop_why": action.stop_why or None,
        "rollback_to": action.rollback_to or None,
        "plan": plan_shown(plan) if plan else None,
        "approvals": _approvals(it),
        "verdicts": plan.verdict.get("reasons", []) if plan else [],
        "progress": {**shown["progress"], **_pace(action)},
        **_ran(action),
        "result": _result(action),
    }


def shown(request: HttpRequest, action: Action) -> dict[str, Any]:
    """An action as the one who asks may see it now; `?vocabulary=seed` as everywhere."""
    return one(access_of(request), action, request.GET.get("vocabulary", ""))


def row(
    access: Access,
    action: Action,
    it: Waiting | None,
    vocabulary: str,
    behind: Sequence[ResourceClaim] = (),
    waits: Sequence[Wait] = (),
) -> dict[str, Any]:
    return {
        "id": action.pk,
        "title": action.title,
        "type": action.type,
        "skill_id": None,
        "environment": action.environment.slug,
        "target": action.target,
        "requester": who(action.requester),
        "proposed_by": action.requester.username,
        "state": spoken(action.state, vocabulary),
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
            *moves_open_to(access, action),
            *(it.second_thoughts if it and action.state in ("awaiting_approval", "approved") else []),
        ],
        "blocked_by": in_words(action, it, behind, waits),
        "links": _links(action),
    }


def who(principal: Principal) -> dict[str, Any]:
    """A principal as the API names it; `owner` must be joined."""
    owner = principal.owner
    return {
        "id": principal.pk,
        "username": principal.username,
        "name": str(principal),
        "kind": principal.kind,
        "owner": owner.username if owner else None,
    }


def spoken(state: str, vocabulary: str) -> str:
    """A state in the words that the caller asked for."""
    return SEED_VOCABULARY.get(state, state) if vocabulary == "seed" else str(state)


def is_autonomous(plan: Plan | None) -> bool:
    """Whether the rules would let this plan run with no person's word at all."""
    return bool(plan) and plan.verdict.get("outcome") == "allow" and not plan.counts.get("changes")  # type: ignore[union-attr]


def plan_shown(plan: Plan) -> dict[str, Any]:
    return {
        "version": plan.version,
        "digest": plan.digest,
        "summary": plan.summary,
        "blast": plan.blast,
        "counts": plan.counts,
        "steps": [{key: step[key] for key in OF_A_STEP if key in step} for step in plan.steps],
        "rollback": plan.rollback or way_back(plan.steps, {}, {}),
        "recovery": plan.recovery,
        "created_at": plan.created_at,
    }


def _approvals(it: Waiting | None) -> dict[str, Any]:
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
                "by": who(d.principal),
            }
            for d in counted.decisions
        ],
        "change_requests": [
            {**{k: getattr(a, k) for k in ("role", "digest", "comment", "at", "counts")}, "by": who(a.principal)}
            for a in it.change_requests
        ],
        "suggested": _suggested(it),
        "expires_at": request.expires_at,
    }


def _suggested(it: Waiting) -> list[dict[str, Any]]:
    """Three queries and the clock, for an open request; none else."""
    found = suggested_approvers(it.request, it.counted)
    ids = {one.principal for people in found.values() for one in people}
    names = {p.pk: p for p in Principal.objects.filter(pk__in=ids).select_related("owner")} if ids else {}
    return [
        {
            "role": role,
            "people": [
                {
                    "by": who(names[s.principal]),
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


def _pace(action: Action) -> dict[str, Any]:
    pace = pace_of(action, timezone.now())
    if pace is None:
        return {"runs": runs_known(action), "expected_s": None, "p90_s": None, "remaining_s": None}
    return {"runs": pace.runs, "expected_s": pace.expected_s, "p90_s": pace.p90_s, "remaining_s": pace.left_s}


def _ran(action: Action) -> dict[str, Any]:
    """The steps of the plan with what came of them, and what all attempts used together. One query, once it began."""
    if not action.plan:
        return {"steps": [], "metrics": None}
    found = Checkpoint.objects.filter(action=action).order_by("id").values(*OF_A_LINE) if action.started_at else []
    lines = [Checkpoint(**line) for line in found]
    ledger, used, paces = Ledger.of(lines), used_by(lines), steps_of(action)
    steps = [_step(planned, ledger, used) for planned in action.plan.steps]
    for n, step in enumerate(steps):
        step["expected_s"], step["p90_s"] = paces[n] if paces else (None, None)
    return {
        "steps": steps,
        "metrics": total_of([one for each in used.values() for one in each]),
    }


def _step(planned: dict[str, Any], ledger: Ledger, used: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    record = ledger[planned["key"]]
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
        "metrics": total_of(used.get(planned["key"], [])),
        "started_at": record.started_at,
        "ended_at": record.ended_at,
    }


def _result(action: Action) -> dict[str, Any] | None:
    """Null until the action has ended; then whether it did what was asked, and if not, why."""
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

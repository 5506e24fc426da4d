"""The pages on which a plan is reviewed: review, its changes, the explanation of its verdict, its evidence."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from actions.commands.review import record_view
from actions.controls.blockers import find_blockers
from actions.controls.resource_locks import blocking_locks_of_waiting
from actions.lifecycle.allowed import find_action
from actions.lifecycle.commit import action_subject
from actions.models import Action
from actions.models.states import ENDED
from actions.pages.action.changes import (
    OPERATIONS,
    PAGE_SIZE,
    comments_context,
    diff_view,
    find_plan,
    load_changes,
    render_diff,
)
from actions.pages.action.commands import (
    approval_panel_context,
    describe_recovery,
    describe_rollback_plan,
    fetch_fallbacks,
)
from actions.pages.action.progress import build_stages
from actions.pages.decorators import require_member
from actions.preflight.duration_estimate import expected_duration, known_runs, step_estimates
from actions.queries.activity import fetch_activity
from actions.queries.explain import explain
from actions.queries.incidents import latest_incident
from approvals.policies.policy_text import to_yaml
from audit.changes.masking import visible
from audit.errors import NotFound
from audit.evidence.api import job_response
from audit.evidence.jobs import find_job
from audit.evidence.pages import ExportAddresses, export_context, handle_export
from audit.ui import charts
from tenants.access import Access, access_of


@require_member
def review(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The whole page."""
    access = access_of(request)
    action = find_action(access, action_id)
    context = {"here": "queue", **body_context(action, request), **head_context(access, action)}
    record_plan_shown(access, action, context)
    return render(request, "actions/review/review.html", context | {"activity": fetch_activity(action)})


@require_member
def review_live(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """What changed, in place: head, notices, rail, activity. The plan's sections only once there is a first plan."""
    access = access_of(request)
    action = find_action(access, action_id)
    have = request.GET.get("have", "")
    current = action.plan.digest if action.plan else ""
    context = head_context(access, action) | {
        "activity": fetch_activity(action),
        "stale": bool(have) and have != current,
    }
    if not have and current:
        context |= body_context(action, request) | {"arrived": True}
        record_plan_shown(access, action, context)
    return render(request, "actions/review/_live.html", context)


@require_member
def changes_page(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The next page of changes of one plan."""
    access = access_of(request)
    action = find_action(access, action_id)
    plan = find_plan(action, request.GET.get("digest", ""))
    context = changes_context(action, plan, request, _read_after(request))
    record_plan_shown(access, action, context)
    return render(request, "actions/review/_changes_page.html", context)


@require_member
def change_body(request: HttpRequest, action_id: UUID, n: int) -> HttpResponse:
    """One diff, fetched when it is opened; with `seen`, only the note that it was, because the page has it already."""
    access = access_of(request)
    action = find_action(access, action_id)
    plan = find_plan(action, request.GET.get("digest", ""))
    if plan is None:
        raise NotFound
    diff = render_diff(plan, action.tenant_id, n, diff_view(request))
    record_view(access, action, plan, [n], plan.counts.get("changes", 0))
    return HttpResponse(status=204) if "seen" in request.GET else HttpResponse(diff)


def record_plan_shown(access: Access, action: Action, context: dict[str, Any]) -> None:
    """Note which plan a page showed, and the changes that were open on it."""
    opened = [change.n for change, *_ in context.get("changes", []) if change.open]
    record_view(access, action, context["plan"], opened, context.get("changes_total", 0))


def head_context(access: Access, action: Action) -> dict[str, Any]:
    """What stands above and beside the plan: state, stations, facts, the decision."""
    decision = approval_panel_context(access, action)
    return {
        "action": action,
        "plan": action.plan,
        "incident": latest_incident(action),
        "behind": blocking_locks_of_waiting([action]).get(action.pk, []),
        "waits": find_blockers([action]).get(action.pk, []),
        "fallbacks": fetch_fallbacks(action),
        "is_live": action.state not in ENDED,
        "stations": build_stages(action, decision["asked"], decision["have"], decision["needed"]),
        **decision,
    }


def body_context(action: Action, request: HttpRequest) -> dict[str, Any]:
    """What the plan says: blast radius, rules, changes, order and undo."""
    plan = action.plan
    if plan is None:
        return {}
    factors = plan.blast.get("factors", [])
    return {
        "scoring": [_label_factor(f) for f in factors if f["points"]],
        "silent": [_label_factor(f) for f in factors if not f["points"]],
        "blast_chart": charts.blast([f["points"] for f in factors if f["points"]]),
        "reasons": plan.verdict.get("reasons", []),
        "way_back": describe_rollback_plan(plan),
        "recovery": describe_recovery(plan),
        "steps": number_steps(plan.steps, step_estimates(action)),
        "pace": expected_duration(action),
        "runs_known": known_runs(action),
        **changes_context(action, plan, request),
    }


def changes_context(action: Action, plan: Any, request: HttpRequest, after: int = 0) -> dict[str, Any]:
    everything, view = load_changes(plan, action.tenant_id), diff_view(request)
    shown = everything[after : after + PAGE_SIZE]
    bodies = [(s, render_diff(plan, action.tenant_id, s.n, view) if s.inline else "") for s in shown]
    talk = comments_context(action, plan.digest if plan else "")
    return {
        "action": action,
        "plan": plan,
        "digest": plan.digest if plan else "",
        "view": view,
        "changes": [(s, body, talk["talk"].get(s.n, [])) for s, body in bodies],
        **talk,
        "threads": talk["talk"].get(0, []),
        "changes_total": len(everything),
        "changes_next": after + PAGE_SIZE if len(everything) > after + PAGE_SIZE else 0,
        "changes_left": len(everything) - after - len(shown),
        "adds": sum(s.change.adds for s in everything),
        "dels": sum(s.change.dels for s in everything),
    }


def number_steps(steps: list[dict[str, Any]], paces: Sequence[Sequence[float]] = ()) -> list[dict[str, Any]]:
    """Steps with their number, those that they come after, their sign, how long they usually take, and where undoing
    stops being whole."""
    number = {s["key"]: n for n, s in enumerate(steps, 1)}
    out, passed = [], False
    for k, s in enumerate(steps):
        final = s["compensation"]["kind"] == "irreversible"
        op, sign, _ = OPERATIONS.get(s["operation"], ("mod", "·", ""))
        follows = ", ".join(str(number[k]) for k in s.get("after", []) if k in number)
        out.append(
            {
                **s,
                "n": number[s["key"]],
                "follows": follows,
                "op": op,
                "sign": sign,
                "ponr": final and not passed,
                "usual_s": paces[k][0] if paces else None,
            }
        )
        passed = passed or final
    return out


def _label_factor(factor: dict[str, Any]) -> dict[str, Any]:
    weight = factor.get("weight", 100)
    label = factor["name"].replace("_", " ").capitalize()
    return {**factor, "label": label, "weighted": "" if weight == 100 else f", weighs {weight} %"}


def _read_after(request: HttpRequest) -> int:
    asked = request.GET.get("after", "0")
    return int(asked) if asked.isdigit() and len(asked) < 7 else 0


# Explain: why the verdict is as it is.


@require_member
def explain_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The page: everybody who may view the action may know why."""
    action = find_action(access_of(request), action_id)
    it = explain(action)
    blast = it["blast"]
    points = [f["points"] for f in blast["factors"] if f["points"]] if blast else []
    asked = [p for p in it["policies"] if p["result"] != "false"]
    context = {
        "here": "queue",
        "action": action,
        "plan": action.plan,
        "it": it,
        "asked": asked,
        "quiet": [p for p in it["policies"] if p["result"] == "false"],
        "blast_chart": charts.blast(points),
        "facts": [{**f, "text": describe_value(f["value"])} for f in it["facts"]],
    }
    return render(request, "actions/explain/explain.html", context)


def describe_value(value: Any) -> str:
    """A fact's value on a page: plain, with nothing hidden in it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return visible(to_yaml({"r": value}).removeprefix("r:\n")) if value else "none"
    return visible(str(value)) or "empty"


# Evidence: for everybody who may view the action.


@require_http_methods(["GET", "HEAD", "POST"])
@require_member
def evidence(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The page; or, by POST, a pack as it was chosen there."""
    action = find_action(access_of(request), action_id)
    subject, place = action_subject(action), _evidence_place(action.pk)
    if request.method == "POST":
        return handle_export(request, action.tenant_id, subject, place)
    context = export_context(request, action.tenant_id, subject, place)
    return render(request, "actions/evidence.html", {**context, "here": "queue", "action": action, "plan": action.plan})


@require_safe
@require_member
def evidence_live(request: HttpRequest, action_id: UUID) -> HttpResponse:
    action = find_action(access_of(request), action_id)
    return render(
        request,
        "audit/_packs.html",
        export_context(request, action.tenant_id, action_subject(action), _evidence_place(action.pk)),
    )


@require_safe
@require_member
def evidence_file(request: HttpRequest, action_id: UUID, job_id: UUID) -> HttpResponse:
    action = find_action(access_of(request), action_id)
    sent = job_response(request, find_job(action.tenant_id, action.pk, job_id))
    return cast(HttpResponse, sent)  # a stream is none, but the door passes it on all the same


def _evidence_place(action_id: UUID) -> ExportAddresses:
    return ExportAddresses(reverse("action_evidence", args=[action_id]), f"/api/actions/{action_id}/evidence")

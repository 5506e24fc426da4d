"""Review: may exactly this happen?"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.handoff.reading import ticket_of
from actions.locks import queued_up
from actions.models import Action
from actions.pace import runs_known, steps_of, usual_of
from actions.pages.activity import activity_of
from actions.pages.changes import OPERATIONS, PAGE, changes_of, diff_of, plan_with, view_of
from actions.pages.decision import decision_context
from actions.pages.entry import access_of, page
from actions.pages.recovery import fallbacks_of, recovery_of
from actions.pages.stepper import stations_of
from actions.pages.talk import talk_context
from actions.pages.way_back import said
from actions.reading import note_reading
from actions.scheduling.waits import waits_of
from actions.states import ENDED
from actions.verbs import find
from audit.errors import NotFound
from audit.ui import charts
from tenants.access import Access


@page
def review(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The whole page."""
    access = access_of(request)
    action = find(access, action_id)
    context = {"here": "queue", **body_context(action, request), **head_context(access, action)}
    note_shown(access, action, context)
    return render(request, "actions/review.html", context | {"activity": activity_of(action)})


@page
def live(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """What changed, in place: head, notices, rail, activity. The plan's sections only once there is a first plan."""
    access = access_of(request)
    action = find(access, action_id)
    have = request.GET.get("have", "")
    current = action.plan.digest if action.plan else ""
    context = head_context(access, action) | {"activity": activity_of(action), "stale": bool(have) and have != current}
    if not have and current:
        context |= body_context(action, request) | {"arrived": True}
        note_shown(access, action, context)
    return render(request, "actions/_review_live.html", context)


@page
def changes(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The next page of changes of one plan."""
    access = access_of(request)
    action = find(access, action_id)
    plan = plan_with(action, request.GET.get("digest", ""))
    context = changes_context(action, plan, request, _after(request))
    note_shown(access, action, context)
    return render(request, "actions/_changes_page.html", context)


@page
def change(request: HttpRequest, action_id: UUID, n: int) -> HttpResponse:
    """One diff, fetched when it is opened; with `seen`, only the note that it was, because the page has it already."""
    access = access_of(request)
    action = find(access, action_id)
    plan = plan_with(action, request.GET.get("digest", ""))
    if plan is None:
        raise NotFound
    diff = diff_of(plan, action.tenant_id, n, view_of(request))
    note_reading(access, action, plan, [n], plan.counts.get("changes", 0))
    return HttpResponse(status=204) if "seen" in request.GET else HttpResponse(diff)


def note_shown(access: Access, action: Action, context: dict[str, Any]) -> None:
    """Note which plan a page showed, and the changes that were open on it."""
    opened = [change.n for change, *_ in context.get("changes", []) if change.open]
    note_reading(access, action, context["plan"], opened, context.get("changes_total", 0))


def head_context(access: Access, action: Action) -> dict[str, Any]:
    """What stands above and beside the plan: state, stations, facts, the decision."""
    decision = decision_context(access, action)
    return {
        "action": action,
        "plan": action.plan,
        "ticket": ticket_of(action),
        "behind": queued_up([action]).get(action.pk, []),
        "waits": waits_of([action]).get(action.pk, []),
        "fallbacks": fallbacks_of(action),
        "is_live": action.state not in ENDED,
        "stations": stations_of(action, decision["asked"], decision["have"], decision["needed"]),
        **decision,
    }


def body_context(action: Action, request: HttpRequest) -> dict[str, Any]:
    """What the plan says: blast radius, rules, changes, order and undo."""
    plan = action.plan
    if plan is None:
        return {}
    factors = plan.blast.get("factors", [])
    return {
        "scoring": [_labelled(f) for f in factors if f["points"]],
        "silent": [_labelled(f) for f in factors if not f["points"]],
        "blast_chart": charts.blast([f["points"] for f in factors if f["points"]]),
        "reasons": plan.verdict.get("reasons", []),
        "way_back": said(plan),
        "recovery": recovery_of(plan),
        "steps": ordered(plan.steps, steps_of(action)),
        "pace": usual_of(action),
        "runs_known": runs_known(action),
        **changes_context(action, plan, request),
    }


def changes_context(action: Action, plan: Any, request: HttpRequest, after: int = 0) -> dict[str, Any]:
    everything, view = changes_of(plan, action.tenant_id), view_of(request)
    shown = everything[after : after + PAGE]
    bodies = [(s, diff_of(plan, action.tenant_id, s.n, view) if s.inline else "") for s in shown]
    talk = talk_context(action, plan.digest if plan else "")
    return {
        "action": action,
        "plan": plan,
        "digest": plan.digest if plan else "",
        "view": view,
        "changes": [(s, body, talk["talk"].get(s.n, [])) for s, body in bodies],
        **talk,
        "threads": talk["talk"].get(0, []),
        "changes_total": len(everything),
        "changes_next": after + PAGE if len(everything) > after + PAGE else 0,
        "changes_left": len(everything) - after - len(shown),
        "adds": sum(s.change.adds for s in everything),
        "dels": sum(s.change.dels for s in everything),
    }


def ordered(steps: list[dict[str, Any]], paces: Sequence[Sequence[float]] = ()) -> list[dict[str, Any]]:
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


def _labelled(factor: dict[str, Any]) -> dict[str, Any]:
    weight = factor.get("weight", 100)
    label = factor["name"].replace("_", " ").capitalize()
    return {**factor, "label": label, "weighted": "" if weight == 100 else f", weighs {weight} %"}


def _after(request: HttpRequest) -> int:
    asked = request.GET.get("after", "0")
    return int(asked) if asked.isdigit() and len(asked) < 7 else 0

"""Comments beside the changes: one form and its threads for each change, and one for the whole plan."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from actions.models import Action
from actions.pages.entry import access_of, correlation_of, go, page
from actions.talk import comment_on, settle_thread
from actions.verbs import find
from approvals.models import Comment
from approvals.requests.comments import threads_of
from audit.errors import NotFound


@require_POST
@page
def comment(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Say something; answers with the threads of that place."""
    sent = request.POST
    made = comment_on(
        access_of(request),
        action_id,
        sent.get("text", ""),
        digest=sent.get("digest", "")[:64],
        change=_number(sent.get("change", "")),
        line=_number(sent.get("line", "")),
        reply_to=_id(sent.get("reply_to", "")),
        correlation_id=correlation_of(request),
    )
    return _answer(request, find(access_of(request), action_id), made)


@require_POST
@page
def resolve(request: HttpRequest, action_id: UUID, comment_id: UUID) -> HttpResponse:
    """Resolve a thread, or take it up again."""
    done = request.POST.get("resolved") != "no"
    action, found = settle_thread(
        access_of(request), action_id, comment_id, done, correlation_id=correlation_of(request)
    )
    return _answer(request, action, found)


def talk_context(action: Action, digest: str) -> dict[str, Any]:
    """What stands beside the changes of one plan: {"talk": {n: [Thread]}, "talk_open": unresolved threads}."""
    talk = threads_of(action.tenant_id, "action", action.pk, digest)
    still = sum(not t.first.resolved_at for threads in talk.values() for t in threads)
    return {"talk": talk, "talk_open": still}


def _answer(request: HttpRequest, action: Action, about: Comment) -> HttpResponse:
    shown = request.POST.get("digest", "") or (action.plan.digest if action.plan else "")
    n = 0 if about.digest != shown else about.change or 0
    if request.headers.get("HX-Request") != "true":
        return go(request, f"/actions/{action.pk}/#talk-{n}")
    context = {"action": action, "plan": action.plan, "n": n, "digest": shown, **talk_context(action, shown)}
    return render(request, "actions/_talk.html", context | {"threads": context["talk"].get(n, [])})


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 and int(text) else None


def _id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise NotFound from None

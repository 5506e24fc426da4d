"""Why an action was judged as it was."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.pages.entry import access_of, page
from actions.verbs import find
from actions.why import why as told
from approvals.policies.policy_text import to_yaml
from audit.changes.visible import visible
from audit.ui import charts


@page
def why(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The page: everybody who may view the action may know why."""
    action = find(access_of(request), action_id)
    it = told(action)
    blast = it["blast"]
    points = [f["points"] for f in blast["factors"] if f["points"]] if blast else []
    asked = [p for p in it["policies"] if p["ruling"] != "false"]
    context = {
        "here": "queue",
        "action": action,
        "plan": action.plan,
        "it": it,
        "asked": asked,
        "quiet": [p for p in it["policies"] if p["ruling"] == "false"],
        "blast_chart": charts.blast(points),
        "facts": [{**f, "text": in_words(f["value"])} for f in it["facts"]],
    }
    return render(request, "actions/why.html", context)


def in_words(value: Any) -> str:
    """A fact's value on a page: plain, with nothing hidden in it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return visible(to_yaml({"r": value}).removeprefix("r:\n")) if value else "none"
    return visible(str(value)) or "empty"

"""The quarantine page, and the proposal to clear one."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.controls.quarantine import find_quarantine, put_in_quarantine, visible_quarantines
from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.models import Action, Quarantine
from actions.pages.action.new_action import call_or_issues
from actions.pages.decorators import redirect_to, require_member
from actions.queries.action_list import page_url
from audit.errors import Invalid, Problem
from audit.web import correlation_of
from tenants.access import Access, access_of
from tenants.models import Environment

MAX_SHOWN, MAX_PAST = 200, 50
KINDS = ("file", "service", "deployment")


class QuarantineForm(forms.Form):
    environment = forms.ChoiceField(label="Environment")
    kind = forms.CharField(label="Kind", max_length=64, help_text="file, service, deployment: as plans have it.")
    name = forms.CharField(label="Name", max_length=1_000, help_text="As plans have it, such as app/config.yaml.")
    reason = forms.CharField(
        label="Why",
        max_length=4_000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Shown to the person who clears it.",
    )

    def __init__(self, *args: Any, places: list[Environment], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["environment"].choices = [(e.slug, e.name) for e in places]  # type: ignore[attr-defined]


class ClearForm(forms.Form):
    found = forms.CharField(
        label="What you found",
        max_length=4_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="State of the resource and how you checked it. Approvers rely on it.",
    )
    ticket = forms.CharField(label="Ticket", max_length=120, required=False)


@require_member
def quarantine_page(request: HttpRequest) -> HttpResponse:
    """What is in quarantine, and on POST one more."""
    access = access_of(request)
    places = _operable_environments(access)
    form = QuarantineForm(request.POST or None, places=places)
    if request.method == "POST" and form.is_valid():
        try:
            made = put_in_quarantine(access, **form.cleaned_data, correlation_id=correlation_of(request))
        except Invalid as invalid:
            for issue in invalid.extra["issues"]:
                form.add_error(issue["field"], issue["message"])
        except Problem as problem:
            form.add_error(None, " ".join([problem.detail, *problem.remedies]))
        else:
            messages.warning(request, f"Nothing touches {made.kind} {made.name} from now on.")
            return redirect_to(request, "/quarantine/")
    context = {"here": "quarantine", "form": form, "may_set": bool(places), **quarantine_context(access)}
    return render(request, "quarantine/quarantine.html", context, status=422 if form.errors else 200)


@require_member
def clear_page(request: HttpRequest, quarantine_id: UUID) -> HttpResponse:
    """Propose that a quarantine ends, prefilled; on POST the action that would end it."""
    access = access_of(request)
    shut = find_quarantine(access, quarantine_id)
    form = ClearForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made, issues = call_or_issues(
            propose_clearing, access, shut, **form.cleaned_data, correlation_id=correlation_of(request)
        )
        if made:
            return redirect_to(request, page_url(made))
        for issue in issues:
            form.add_error(None, issue["message"])
    return render(
        request,
        "quarantine/clear.html",
        {"here": "quarantine", "q": shut, "form": form},
        status=422 if form.errors else 200,
    )


def propose_clearing(access: Access, shut: Quarantine, *, found: str, ticket: str, correlation_id: str) -> Action:
    """Submit the action that would clear it, where it is. Raises what `submit` raises."""
    submission = Submission(
        type="clear_quarantine",
        environment=shut.environment.slug,
        reason=found,
        ticket=ticket,
        parameters={"quarantine": str(shut.pk), "found": found},
        title=f"Clear the quarantine of {shut.kind} {shut.name}"[:200],
    )
    return submit(access, submission, correlation_id=correlation_id)[0]


def quarantine_context(access: Access) -> dict[str, Any]:
    """What is in quarantine now, what was, and what has been proposed to end it. Three queries."""
    now = list(visible_quarantines(access).filter(cleared_at=None)[: MAX_SHOWN + 1])
    past = visible_quarantines(access).filter(cleared_at__isnull=False)[:MAX_PAST]
    proposed: dict[str, Action] = {}
    live = ("queued", "preflight", "awaiting_approval", "approved", "in_progress", "verifying", "rolling_back", "held")
    asking = Action.objects.filter(tenant=access.tenant, type="clear_quarantine", state__in=live) if now else ()
    for action in asking:
        proposed[str(action.parameters.get("quarantine"))] = action
    return {
        "shut": [(q, proposed.get(str(q.pk))) for q in now[:MAX_SHOWN]],
        "more": len(now) > MAX_SHOWN,
        "past": list(past),
        "may_propose": set(access.environments_where("propose")),
        "kinds": KINDS,
    }


def _operable_environments(access: Access) -> list[Environment]:
    """Where the reader may put something in quarantine."""
    return list(Environment.objects.filter(pk__in=access.environments_where("operate")).order_by("slug"))

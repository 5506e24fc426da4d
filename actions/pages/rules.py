"""Propose to put a draft of the rules in force: where it lands, and why. The rest is an action like any other."""

from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.intake.rules import Proposal, proposal_for, propose_rules
from actions.pages.compose import tried
from actions.pages.entry import access_of, address_of, correlation_of, go, page
from actions.rehearsal.gate import standing_of
from approvals.policies.permissions import environments_deciding_policies
from tenants.access import Access
from tenants.models import Environment


class ProposalForm(forms.Form):
    environment = forms.ChoiceField(
        label="Where it lands", help_text="Its approvers decide, and never fewer than two people."
    )
    reason = forms.CharField(
        label="Why",
        max_length=4_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Approvers and auditors read it.",
    )
    ticket = forms.CharField(label="Ticket", max_length=120, required=False)

    def __init__(self, *args: Any, places: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["environment"].choices = places  # type: ignore[attr-defined]


@page
def propose(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """The form, and on POST the action it makes."""
    access = access_of(request)
    proposal = proposal_for(access, kind, draft_id)
    form = ProposalForm(request.POST or None, places=_places(access, proposal))
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        made, issues = tried(propose_rules, access, proposal, **said, correlation_id=correlation_of(request))
        if made:
            return go(request, address_of(made))
        for issue in issues:
            form.add_error(issue["field"] if issue["field"] in form.fields else None, issue["message"])
    context = {"here": "rules", "proposal": proposal, "form": form, "standing": standing_of(kind, draft_id)}
    return render(request, "actions/propose_rules.html", context, status=422 if form.errors else 200)


def _places(access: Access, proposal: Proposal) -> list[tuple[str, str]]:
    """Where the reader may propose it."""
    administered = Environment.objects.filter(pk__in=access.environments_where("administer")).order_by("slug")
    fitting = (
        administered
        if proposal.environment
        else set(environments_deciding_policies(access.tenant.pk)) & set(administered)
    )
    slugs = sorted((place.slug, place.name) for place in fitting)
    return [pair for pair in slugs if proposal.environment in ("", pair[0])]

"""Evaluate, backtest and propose a draft: a policy, a retirement or a matrix."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST

from actions.backtests import start
from actions.backtests.draft_rules import DraftRules, load_draft
from actions.backtests.evaluate import KINDS, SingleBacktest, backtest_found, comparable, describe_verdict
from actions.backtests.start import GOOD_FOR, backtest_status
from actions.backtests.worker import CUT_OFFS
from actions.commands.propose import PolicyProposal, find_policy_proposal, propose_policy_change
from actions.lifecycle.allowed import find_action
from actions.models import Action, Backtest
from actions.pages.action.new_action import call_or_issues
from actions.pages.decorators import redirect_to, require_member
from actions.queries.action_list import page_url
from approvals.policies.permissions import environments_deciding_policies
from audit.database.clock import database_time
from audit.errors import Invalid
from audit.web import correlation_of
from tenants.access import Access, access_of, visible_to
from tenants.models import Environment

MAX_CHOICES = 12
PER_PAGE = 50
STUCK_AFTER = timedelta(seconds=20)
PROPOSE_URLS = {"policy": "propose_policy", "retire": "propose_retirement", "matrix": "propose_matrix"}
LIGHT = ("id", "title", "type", "state", "created_at", "environment", "blast_score", "tier")


class PeriodForm(forms.Form):
    """Days in UTC, both included."""

    since = forms.DateField(label="From", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    until = forms.DateField(label="To", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))

    def period(self) -> tuple[datetime, datetime]:
        last: date = self.cleaned_data["until"]
        return _midnight(self.cleaned_data["since"]), _midnight(last) + timedelta(days=1)

    def clean_until(self) -> date:
        last: date = self.cleaned_data["until"]
        if last.year > 9000:
            raise forms.ValidationError("Give a day before the year 9000.")
        return last


@require_member
def evaluate_draft(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """Choose an action, and see it by today's rules and by those with the draft."""
    access = access_of(request)
    candidate = load_draft(access, kind, draft_id)
    chosen = request.GET.get("action", "").strip()
    found = backtest_found(candidate, find_action(access, chosen)) if chosen else None
    context = {
        **_draft_context(candidate, "evaluate"),
        **_action_choices(access, candidate, request.GET.get("q", ""), chosen),
    }
    context |= _evaluation_context(found) if found else {}
    return render(request, "policies/evaluate.html", context)


@require_member
def backtest_draft(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """The last backtest as far as it is, and the form for another one; on POST it begins."""
    access = access_of(request)
    candidate = load_draft(access, kind, draft_id)
    form = PeriodForm(request.POST or None, initial=_default_period())
    if request.method == "POST" and form.is_valid():
        since, until = form.period()
        try:
            start.start_backtest(
                access, kind, draft_id, since=since, until=until, correlation_id=correlation_of(request)
            )
            return redirect_to(request, reverse(f"backtest_{kind}", args=[draft_id]))
        except Invalid as invalid:
            form.add_error("since", invalid.detail)
    context = {**_draft_context(candidate, "backtest"), **_backtest_context(request, access, candidate), "form": form}
    return render(request, "policies/backtest.html", context, status=422 if form.errors else 200)


@require_member
def backtest_live(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """What the page polls for as long as a backtest is under way."""
    access = access_of(request)
    candidate = load_draft(access, kind, draft_id)
    return render(request, "policies/_backtest_live.html", _backtest_context(request, access, candidate))


@require_POST
@require_member
def cancel_draft_backtest(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """Stop the backtest that is under way, if one is."""
    access = access_of(request)
    load_draft(access, kind, draft_id)
    found = start.latest_backtest(kind, draft_id)
    if found is not None and found.is_under_way:
        start.cancel_backtest(access, found.pk, correlation_id=correlation_of(request))
    return redirect_to(request, reverse(f"backtest_{kind}", args=[draft_id]))


def _draft_context(candidate: DraftRules, on: str) -> dict[str, Any]:
    """What both pages have around them."""
    kind, draft = candidate.kind, candidate.draft
    tabs = [
        ("evaluate", "Test", reverse(f"evaluate_{kind}", args=[draft])),
        ("backtest", "Backtest", reverse(f"backtest_{kind}", args=[draft])),
        ("propose", "Propose", reverse(PROPOSE_URLS[kind], args=[draft])),
    ]
    policy = candidate.rule.policy_id if candidate.rule else None
    return {"here": "rules", "candidate": candidate, "tabs": tabs, "on": on, "policy": policy}


def _action_choices(access: Access, candidate: DraftRules, asked: str, chosen: str) -> dict[str, Any]:
    """The newest actions with an evaluated plan, where the draft can make a difference, that match what was asked."""
    planned = visible_to(Action.objects.filter(plan__isnull=False), access)
    if candidate.environment is not None:
        planned = planned.filter(environment=candidate.environment)
    text = asked.strip().replace("\x00", "")[:200]
    if text:
        matches = Q(title__icontains=text) | Q(ticket__iexact=text) | Q(type__iexact=text)
        planned = planned.filter(matches | Q(pk=_parse_id(text))) if _parse_id(text) else planned.filter(matches)
    rows = planned.select_related("environment").only(*LIGHT).order_by("-pk")[:MAX_CHOICES]
    return {"choices": list(rows), "q": text, "chosen": chosen, "most": MAX_CHOICES}


def _evaluation_context(found: SingleBacktest) -> dict[str, Any]:
    sides: list[dict[str, Any]] = [
        {"title": "Actual outcome", "said": found.went, "reasons": [], "key": "went"},
        {"title": "Today's rules", "said": comparable(found.today), "reasons": found.today.reasons, "key": "today"},
        {"title": "With the draft", "said": comparable(found.then), "reasons": found.then.reasons, "key": "then"},
    ]
    for side in sides:
        side["words"] = describe_verdict(side["said"])
    new = [reason for reason in found.then.reasons if reason not in found.today.reasons]
    return {"found": found, "sides": sides, "new": new}


def _backtest_context(request: HttpRequest, access: Access, candidate: DraftRules) -> dict[str, Any]:
    """The last backtest of a draft: how far it is, what it counted, and a page of what would go otherwise."""
    it = start.latest_backtest(candidate.kind, candidate.draft)
    standing = backtest_status(candidate.kind, candidate.draft)
    address = reverse(f"backtest_{candidate.kind}", args=[candidate.draft])
    context: dict[str, Any] = {
        "candidate": candidate,
        "it": it,
        "standing": standing,
        "address": address,
        "good_for": GOOD_FOR.days,
        "propose": reverse(PROPOSE_URLS[candidate.kind], args=[candidate.draft]),
    }
    if it is None:
        return context
    stuck = it.is_under_way and it.claim is None and database_time() - it.touched_at > STUCK_AFTER
    given_up = [source for source, left in it.patience.items() if left <= 0]
    context |= {
        "is_stale": it.digest != candidate.digest,
        "stuck": stuck,
        "given_up": given_up,
        "cut_offs": CUT_OFFS,
        "percent": min(100, it.done * 100 // it.total) if it.total else 0,
        "kept": start.MAX_DIFFERENCES,
        "since_changes": sum(it.counts.get("since", {}).values()),
    }
    return context | _differences_context(request, access, it)


def _differences_context(request: HttpRequest, access: Access, it: Backtest) -> dict[str, Any]:
    because = "since" if request.GET.get("because") == "since" else "draft"
    kind = request.GET.get("kind", "")
    kind = kind if kind in KINDS else ""
    asked = request.GET.get("after", "0")
    after = int(asked) if asked.isdigit() and len(asked) < 19 else 0
    rows = list(start.differences_of(access, it, because, after=after, kind=kind)[: PER_PAGE + 1])
    picked = {"because": because, **({"kind": kind} if kind else {})}
    more = urlencode({**picked, "after": rows[PER_PAGE - 1].pk}) if len(rows) > PER_PAGE else ""
    counts: dict[str, int] = it.counts.get(because, {})
    return {
        "because": because,
        "kind": kind,
        "after": after,
        "more": more,
        "listed": sum(counts.values()),
        "kinds": [{"key": k, "n": n, "words": KINDS.get(k, k)} for k, n in sorted(counts.items(), key=lambda c: -c[1])],
        "rows": [_difference_row(d) for d in rows[:PER_PAGE]],
        "query": urlencode({**picked, "after": after}),
    }


def _difference_row(difference: Any) -> dict[str, Any]:
    words = {side: describe_verdict(getattr(difference, side)) for side in ("went", "today", "then")}
    return {"it": difference, "words": KINDS.get(difference.kind, difference.kind), **words}


def _default_period() -> dict[str, date]:
    today = database_time().date()
    return {"since": today - timedelta(days=start.USUAL_DAYS), "until": today}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _parse_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


# Propose a draft: its environment and the reason. The rest is an action like any other.


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


@require_member
def propose_draft(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """The form, and on POST the action it makes."""
    access = access_of(request)
    proposal = find_policy_proposal(access, kind, draft_id)
    form = ProposalForm(request.POST or None, places=_environment_choices(access, proposal))
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        made, issues = call_or_issues(
            propose_policy_change, access, proposal, **said, correlation_id=correlation_of(request)
        )
        if made:
            return redirect_to(request, page_url(made))
        for issue in issues:
            form.add_error(issue["field"] if issue["field"] in form.fields else None, issue["message"])
    context = {"here": "rules", "proposal": proposal, "form": form, "standing": backtest_status(kind, draft_id)}
    return render(request, "policies/propose.html", context, status=422 if form.errors else 200)


def _environment_choices(access: Access, proposal: PolicyProposal) -> list[tuple[str, str]]:
    """Where the reader may propose it."""
    administered = Environment.objects.filter(pk__in=access.environments_where("administer")).order_by("slug")
    fitting = (
        administered
        if proposal.environment
        else set(environments_deciding_policies(access.tenant.pk)) & set(administered)
    )
    slugs = sorted((place.slug, place.name) for place in fitting)
    return [pair for pair in slugs if proposal.environment in ("", pair[0])]

"""A draft of the rules tried before it is trusted: on one action, and on every judged action of a period."""

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

from actions.models import Action, Backtest
from actions.pages.entry import access_of, correlation_of, go, page
from actions.rehearsal import backtests, gate
from actions.rehearsal.candidate import Candidate, candidate_for
from actions.rehearsal.compare import KINDS, in_words, said
from actions.rehearsal.gate import GOOD_FOR, standing_of
from actions.rehearsal.rehearse import Rehearsal, rehearsed
from actions.rehearsal.work import CUT_OFFS
from actions.verbs import find
from audit.database.clock import database_time
from audit.errors import Invalid
from tenants.access import Access, visible_to

MOST_CHOICES = 12
PER_PAGE = 50
LATE = timedelta(seconds=20)
PROPOSE = {"policy": "propose_policy", "retire": "propose_retirement", "matrix": "propose_matrix"}
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


@page
def rehearse(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """Choose an action, and see it by today's rules and by those with the draft."""
    access = access_of(request)
    candidate = candidate_for(access, kind, draft_id)
    chosen = request.GET.get("action", "").strip()
    found = rehearsed(candidate, find(access, chosen)) if chosen else None
    context = {**_frame(candidate, "rehearse"), **_choices(access, candidate, request.GET.get("q", ""), chosen)}
    context |= _result(found) if found else {}
    return render(request, "rules/rehearse.html", context)


@page
def backtest(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """The last backtest as far as it is, and the form for another one; on POST it begins."""
    access = access_of(request)
    candidate = candidate_for(access, kind, draft_id)
    form = PeriodForm(request.POST or None, initial=_usual())
    if request.method == "POST" and form.is_valid():
        since, until = form.period()
        try:
            backtests.start(access, kind, draft_id, since=since, until=until, correlation_id=correlation_of(request))
            return go(request, reverse(f"backtest_{kind}", args=[draft_id]))
        except Invalid as invalid:
            form.add_error("since", invalid.detail)
    context = {**_frame(candidate, "backtest"), **_progress(request, access, candidate), "form": form}
    return render(request, "rules/backtest.html", context, status=422 if form.errors else 200)


@page
def live(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """What the page polls for as long as a backtest is under way."""
    access = access_of(request)
    candidate = candidate_for(access, kind, draft_id)
    return render(request, "rules/_backtest_live.html", _progress(request, access, candidate))


@require_POST
@page
def cancel(request: HttpRequest, draft_id: UUID, kind: str) -> HttpResponse:
    """Stop the backtest that is under way, if one is."""
    access = access_of(request)
    candidate_for(access, kind, draft_id)
    found = gate.latest(kind, draft_id)
    if found is not None and found.is_under_way:
        backtests.cancel(access, found.pk, correlation_id=correlation_of(request))
    return go(request, reverse(f"backtest_{kind}", args=[draft_id]))


def _frame(candidate: Candidate, on: str) -> dict[str, Any]:
    """What both pages have around them."""
    kind, draft = candidate.kind, candidate.draft
    tabs = [
        ("rehearse", "Test", reverse(f"rehearse_{kind}", args=[draft])),
        ("backtest", "Backtest", reverse(f"backtest_{kind}", args=[draft])),
        ("propose", "Propose", reverse(PROPOSE[kind], args=[draft])),
    ]
    policy = candidate.rule.policy_id if candidate.rule else None
    return {"here": "rules", "candidate": candidate, "tabs": tabs, "on": on, "policy": policy}


def _choices(access: Access, candidate: Candidate, asked: str, chosen: str) -> dict[str, Any]:
    """The newest actions with a judged plan, where the draft can make a difference, that match what was asked."""
    judged = visible_to(Action.objects.filter(plan__isnull=False), access)
    if candidate.environment is not None:
        judged = judged.filter(environment=candidate.environment)
    text = asked.strip().replace("\x00", "")[:200]
    if text:
        matches = Q(title__icontains=text) | Q(ticket__iexact=text) | Q(type__iexact=text)
        judged = judged.filter(matches | Q(pk=_id(text))) if _id(text) else judged.filter(matches)
    rows = judged.select_related("environment").only(*LIGHT).order_by("-pk")[:MOST_CHOICES]
    return {"choices": list(rows), "q": text, "chosen": chosen, "most": MOST_CHOICES}


def _result(found: Rehearsal) -> dict[str, Any]:
    sides: list[dict[str, Any]] = [
        {"title": "Actual outcome", "said": found.went, "reasons": [], "key": "went"},
        {"title": "Today's rules", "said": said(found.today), "reasons": found.today.reasons, "key": "today"},
        {"title": "With the draft", "said": said(found.then), "reasons": found.then.reasons, "key": "then"},
    ]
    for side in sides:
        side["words"] = in_words(side["said"])
    new = [reason for reason in found.then.reasons if reason not in found.today.reasons]
    return {"found": found, "sides": sides, "new": new}


def _progress(request: HttpRequest, access: Access, candidate: Candidate) -> dict[str, Any]:
    """The last backtest of a draft: how far it is, what it counted, and a page of what would go otherwise."""
    it = gate.latest(candidate.kind, candidate.draft)
    standing = standing_of(candidate.kind, candidate.draft)
    address = reverse(f"backtest_{candidate.kind}", args=[candidate.draft])
    context: dict[str, Any] = {
        "candidate": candidate,
        "it": it,
        "standing": standing,
        "address": address,
        "good_for": GOOD_FOR.days,
        "propose": reverse(PROPOSE[candidate.kind], args=[candidate.draft]),
    }
    if it is None:
        return context
    stuck = it.is_under_way and it.claim is None and database_time() - it.touched_at > LATE
    given_up = [source for source, left in it.patience.items() if left <= 0]
    context |= {
        "is_stale": it.digest != candidate.digest,
        "stuck": stuck,
        "given_up": given_up,
        "cut_offs": CUT_OFFS,
        "percent": min(100, it.done * 100 // it.total) if it.total else 0,
        "kept": backtests.MOST_DIFFERENCES,
        "since_changes": sum(it.counts.get("since", {}).values()),
    }
    return context | _differences(request, access, it)


def _differences(request: HttpRequest, access: Access, it: Backtest) -> dict[str, Any]:
    because = "since" if request.GET.get("because") == "since" else "draft"
    kind = request.GET.get("kind", "")
    kind = kind if kind in KINDS else ""
    asked = request.GET.get("after", "0")
    after = int(asked) if asked.isdigit() and len(asked) < 19 else 0
    rows = list(backtests.differences_of(access, it, because, after=after, kind=kind)[: PER_PAGE + 1])
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
        "rows": [_row(d) for d in rows[:PER_PAGE]],
        "query": urlencode({**picked, "after": after}),
    }


def _row(difference: Any) -> dict[str, Any]:
    words = {side: in_words(getattr(difference, side)) for side in ("went", "today", "then")}
    return {"it": difference, "words": KINDS.get(difference.kind, difference.kind), **words}


def _usual() -> dict[str, date]:
    today = database_time().date()
    return {"since": today - timedelta(days=backtests.USUAL_DAYS), "until": today}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

"""What people are to be told about requests, and when: written down as notices before anything is sent.

Each notice is unique per request, kind and recipient, so that nobody is told twice, however often this runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from approvals.models import Request
from approvals.records import Notice, NotifyRule
from approvals.suggest import suggested
from approvals.tally import tally
from audit.database.clock import database_time, uuid7
from tenants.models import Principal

WAITING = ("opened", "reminder", "escalation")
SHARE = {"opened": 0.0, "reminder": 0.5, "escalation": 0.8}
"""When the built-in rules speak, as a share of the time to decide."""
BUILT_IN = {
    "opened": NotifyRule(to="candidates"),
    "reminder": NotifyRule(to="candidates"),
    "escalation": NotifyRule(to="role", role="admin"),
    "changes_requested": NotifyRule(to="requester"),
    "settled": NotifyRule(to="requester"),
}
SLACK = timedelta(seconds=2)
MOST_ADDRESSES = 50


@dataclass(frozen=True)
class Step:
    """At this time, by this rule, these are to be told."""

    event: str
    rule: NotifyRule
    at: datetime


def rules_for(request: Request, event: str) -> list[NotifyRule]:
    """The rules for an event: the environment's, else the whole tenant's, else the built-in one. One query."""
    return applying(NotifyRule.objects.filter(tenant=request.tenant_id, event=event), request, event)


def applying(rules: Iterable[NotifyRule], request: Request, event: str) -> list[NotifyRule]:
    """Those of an event's rules that apply to a request. Pure, given a list."""
    found = [rule for rule in rules if rule.tenant_id == request.tenant_id]
    here = [rule for rule in found if rule.environment_id == request.environment_id]
    everywhere = [rule for rule in found if rule.environment_id is None]
    return here or everywhere or [BUILT_IN[event]]


def steps_of(request: Request) -> list[Step]:
    """Everything that an open request would have people told while nobody settles it, in order of time."""
    whole = (request.expires_at - request.opened_at).total_seconds()
    steps = []
    for event in WAITING:
        for rule in rules_for(request, event):
            after = rule.after_s if rule.after_s is not None else whole * SHARE[event]
            steps.append(Step(event, rule, request.opened_at + timedelta(seconds=after)))
    return sorted((s for s in steps if s.at < request.expires_at), key=lambda s: s.at)


def write_due(limit: int = 100) -> int:
    """Write the notices of open requests whose time has come; return how many requests were looked at."""
    with transaction.atomic():
        now = database_time()
        due = Request.objects.select_for_update(skip_locked=True, of=("self",)).filter(state="open", notify_at__lte=now)
        requests = list(due.select_related("requester__owner").order_by("notify_at")[:limit])
        for request in requests:
            if request.kind == Request.Kind.APPROVAL:
                _write_steps(request, now)
            else:
                request.notify_at = None
        Request.objects.bulk_update(requests, ["notify_at"])
    return len(requests)


def tell(request: Request, event: str, about: UUID | str = "") -> None:
    """Write the notices of something that happened; call it in the transaction in which it does."""
    for rule in rules_for(request, event):
        _write(request, event, rule, str(about))


def untold(request: Request) -> int:
    """How many could not be told about a request, however often it was tried. One query."""
    return request.notices.filter(state=Notice.State.FAILED).count()


def _write_steps(request: Request, now: datetime) -> None:
    steps, since = steps_of(request), (request.notify_at or now) - SLACK
    for step in steps:
        if since <= step.at <= now:
            _write(request, step.event, step.rule)
    request.notify_at = next((step.at for step in steps if step.at > now), None)


def _write(request: Request, event: str, rule: NotifyRule, about: str = "") -> None:
    channel = "apprise" if rule.to == NotifyRule.To.URLS else "mail"
    now = database_time()
    rows = [
        Notice(id=uuid7(), request=request, kind=event, about=about[:36], channel=channel, recipient=to, next_at=now)
        for to in recipients(request, rule)
    ]
    Notice.objects.bulk_create(rows, ignore_conflicts=True)


def recipients(request: Request, rule: NotifyRule) -> list[str]:
    """Principals' ids, mail addresses, or the rule's own id where it names services."""
    to = NotifyRule.To
    if rule.to == to.CANDIDATES:
        found = suggested(request, tally(request))
        return with_mail({s.principal for people in found.values() for s in people})
    if rule.to == to.REQUESTER:
        return with_mail({request.requester.owner_id or request.requester_id})
    if rule.to == to.ROLE:
        in_role = Principal.objects.filter(groups__role__tenant=request.tenant_id, groups__role__name=rule.role)
        return with_mail(set(in_role.values_list("pk", flat=True)))
    if rule.to == to.ADDRESSES:
        return [str(address) for address in rule.addresses[:MOST_ADDRESSES]]
    return [str(rule.pk)] if rule.to == to.URLS else []


def with_mail(ids: Iterable[UUID]) -> list[str]:
    """The ids of those among these people who are active and have an address. One query."""
    people = Principal.objects.filter(pk__in=list(ids), is_active=True, kind="person").exclude(email="")
    return [str(pk) for pk in people.order_by("pk").values_list("pk", flat=True)]

"""Whom to notify about requests, and when: written down as notifications before anything is sent.

Each is unique per request, kind and recipient, so nobody is notified twice, however often this runs.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from approvals.models import Notification, NotificationRule, Request
from approvals.quorum.count import count_quorum
from approvals.quorum.eligibility import suggested_approvers
from audit.database.clock import database_time, uuid7
from tenants.models import Principal, Role

WAITING_EVENTS = ("opened", "reminder", "escalation")
TIME_SHARE = {"opened": 0.0, "reminder": 0.5, "escalation": 0.8}
"""When the built-in rules apply, as a share of the time to decide."""
DEFAULT_RULES = {
    "opened": NotificationRule(to="candidates"),
    "reminder": NotificationRule(to="candidates"),
    "escalation": NotificationRule(to="role", role="admin"),
    "changes_requested": NotificationRule(to="requester"),
    "closed": NotificationRule(to="requester"),
}
SLACK = timedelta(seconds=2)
MAX_ADDRESSES = 50


@dataclass(frozen=True)
class ScheduledNotification:
    """A rule and the time at which it notifies its recipients."""

    event: str
    rule: NotificationRule
    at: datetime


def notification_rules_for(request: Request, event: str) -> list[NotificationRule]:
    """The rules for an event: the environment's, else the whole tenant's, else the built-in one. One query."""
    return applicable_rules(NotificationRule.objects.filter(tenant=request.tenant_id, event=event), request, event)


def applicable_rules(rules: Iterable[NotificationRule], request: Request, event: str) -> list[NotificationRule]:
    """Those of an event's rules that apply to a request. Pure, given a list."""
    found = [rule for rule in rules if rule.tenant_id == request.tenant_id]
    here = [rule for rule in found if rule.environment_id == request.environment_id]
    everywhere = [rule for rule in found if rule.environment_id is None]
    return here or everywhere or [DEFAULT_RULES[event]]


def notification_schedule(request: Request) -> list[ScheduledNotification]:
    """Every notification of an open request until somebody closes it, in order of time."""
    whole = (request.expires_at - request.opened_at).total_seconds()
    steps = []
    for event in WAITING_EVENTS:
        for rule in notification_rules_for(request, event):
            after = rule.after_s if rule.after_s is not None else whole * TIME_SHARE[event]
            steps.append(ScheduledNotification(event, rule, request.opened_at + timedelta(seconds=after)))
    return sorted((s for s in steps if s.at < request.expires_at), key=lambda s: s.at)


def enqueue_due(limit: int = 100) -> int:
    """Store the notifications of open requests that are due; return how many requests were handled."""
    with transaction.atomic():
        now = database_time()
        due = Request.objects.select_for_update(skip_locked=True, of=("self",)).filter(state="open", notify_at__lte=now)
        requests = list(due.select_related("requester__owner").order_by("notify_at")[:limit])
        for request in requests:
            if request.kind == Request.Kind.APPROVAL:
                _enqueue_scheduled(request, now)
            else:
                request.notify_at = None
        Request.objects.bulk_update(requests, ["notify_at"])
    return len(requests)


def enqueue_event(request: Request, event: str, about: UUID | str = "") -> None:
    """Store the notifications of an event; call it in the event's transaction."""
    for rule in notification_rules_for(request, event):
        _enqueue(request, event, rule, str(about))


def count_failed(request: Request) -> int:
    """How many notifications of a request failed for good. One query."""
    return request.notifications.filter(state=Notification.State.FAILED).count()


def _enqueue_scheduled(request: Request, now: datetime) -> None:
    steps, since = notification_schedule(request), (request.notify_at or now) - SLACK
    for step in steps:
        if since <= step.at <= now:
            _enqueue(request, step.event, step.rule)
    request.notify_at = next((step.at for step in steps if step.at > now), None)


def _enqueue(request: Request, event: str, rule: NotificationRule, about: str = "") -> None:
    channel = "apprise" if rule.to == NotificationRule.To.URLS else "mail"
    now = database_time()
    rows = [
        Notification(
            id=uuid7(), request=request, kind=event, about=about[:36], channel=channel, recipient=to, next_at=now
        )
        for to in recipients(request, rule)
    ]
    Notification.objects.bulk_create(rows, ignore_conflicts=True)


def recipients(request: Request, rule: NotificationRule) -> list[str]:
    """Principals' ids, mail addresses, or the rule's own id where it names services."""
    to = NotificationRule.To
    if rule.to == to.CANDIDATES:
        found = suggested_approvers(request, count_quorum(request))
        return reachable_by_mail({s.principal for people in found.values() for s in people})
    if rule.to == to.REQUESTER:
        return reachable_by_mail({request.requester.owner_id or request.requester_id})
    if rule.to == to.ROLE:
        in_role = Principal.objects.filter(groups__role__tenant=request.tenant_id, groups__role__name=rule.role)
        return reachable_by_mail(set(in_role.values_list("pk", flat=True)))
    if rule.to == to.ADDRESSES:
        return [str(address) for address in rule.addresses[:MAX_ADDRESSES]]
    return [str(rule.pk)] if rule.to == to.URLS else []


def reachable_by_mail(ids: Iterable[UUID]) -> list[str]:
    """The ids of those among these people who are active and have an address. One query."""
    people = Principal.objects.filter(pk__in=list(ids), is_active=True, kind="person").exclude(email="")
    return [str(pk) for pk in people.order_by("pk").values_list("pk", flat=True)]


# Requests closed without a decision: expired, withdrawn or void. Many at once.


Pair = tuple[Request, NotificationRule]
TO = NotificationRule.To


def enqueue_closed(request_ids: Collection[UUID]) -> None:
    """Store the notifications that these closed; call it in the transaction that closed them.

    Requests for acceptance notify nobody. Six queries at most, however many are closed.
    """
    found = Request.objects.filter(pk__in=list(request_ids), kind=Request.Kind.APPROVAL)
    requests = list(found.select_related("requester"))
    rules = list(NotificationRule.objects.filter(tenant__in={r.tenant_id for r in requests}, event="closed"))
    pairs = [(request, rule) for request in requests for rule in applicable_rules(rules, request, "closed")]
    now, rows = database_time(), []
    for (request, rule), recipients in zip(pairs, _recipients_of_pairs(pairs), strict=True):
        channel, about = "apprise" if rule.to == TO.URLS else "mail", request.closed_at
        rows += [
            Notification(
                id=uuid7(),
                request=request,
                kind="closed",
                about=about.isoformat()[:36] if about else "",
                channel=channel,
                recipient=to,
                next_at=now,
            )
            for to in recipients
        ]
    Notification.objects.bulk_create(rows, ignore_conflicts=True)


def _recipients_of_pairs(pairs: Sequence[Pair]) -> list[list[str]]:
    """As `recipients` of each; a closed request has no candidates."""
    in_roles = _in_roles(pairs)
    people = [_people(request, rule, in_roles) for request, rule in pairs]
    reachable = set(reachable_by_mail({pk for some in people for pk in some})) if any(people) else set()
    return [
        _external_recipients(rule) or sorted(reachable.intersection(map(str, some)))
        for (_, rule), some in zip(pairs, people, strict=True)
    ]


def _people(request: Request, rule: NotificationRule, in_roles: dict[tuple[UUID, str], set[UUID]]) -> set[UUID]:
    if rule.to == TO.REQUESTER:
        return {request.requester.owner_id or request.requester_id}
    return in_roles.get((request.tenant_id, rule.role), set()) if rule.to == TO.ROLE else set()


def _external_recipients(rule: NotificationRule) -> list[str]:
    if rule.to == TO.ADDRESSES:
        return [str(address) for address in rule.addresses[:MAX_ADDRESSES]]
    return [str(rule.pk)] if rule.to == TO.URLS else []


def _in_roles(pairs: Sequence[Pair]) -> dict[tuple[UUID, str], set[UUID]]:
    named = {(request.tenant_id, rule.role) for request, rule in pairs if rule.to == TO.ROLE}
    held: dict[tuple[UUID, str], set[UUID]] = defaultdict(set)
    if named:
        roles = Role.objects.filter(tenant__in={t for t, _ in named}, name__in={n for _, n in named})
        for tenant, name, person in roles.values_list("tenant", "name", "group__user"):
            if person is not None:
                held[tenant, name].add(person)
    return held

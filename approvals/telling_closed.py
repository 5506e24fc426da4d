"""Tell people that requests were closed without a decision: expired, withdrawn or void. Many at once."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from uuid import UUID

from approvals.models import Request
from approvals.notices import MOST_ADDRESSES, applying, with_mail
from approvals.records import Notice, NotifyRule
from audit.database.clock import database_time, uuid7
from tenants.models import Role

Pair = tuple[Request, NotifyRule]
TO = NotifyRule.To


def tell_closed(request_ids: Collection[UUID]) -> None:
    """Write the notices that these were settled; call it in the transaction that closed them.

    Requests for acceptance tell nobody. Six queries at most, however many are closed.
    """
    found = Request.objects.filter(pk__in=list(request_ids), kind=Request.Kind.APPROVAL)
    requests = list(found.select_related("requester"))
    rules = list(NotifyRule.objects.filter(tenant__in={r.tenant_id for r in requests}, event="settled"))
    pairs = [(request, rule) for request in requests for rule in applying(rules, request, "settled")]
    now, rows = database_time(), []
    for (request, rule), recipients in zip(pairs, _recipients(pairs), strict=True):
        channel, about = "apprise" if rule.to == TO.URLS else "mail", request.settled_at
        rows += [
            Notice(
                id=uuid7(),
                request=request,
                kind="settled",
                about=about.isoformat()[:36] if about else "",
                channel=channel,
                recipient=to,
                next_at=now,
            )
            for to in recipients
        ]
    Notice.objects.bulk_create(rows, ignore_conflicts=True)


def _recipients(pairs: Sequence[Pair]) -> list[list[str]]:
    """As `notices.recipients` of each; the candidates of what is settled are nobody."""
    in_roles = _in_roles(pairs)
    people = [_people(request, rule, in_roles) for request, rule in pairs]
    reachable = set(with_mail({pk for some in people for pk in some})) if any(people) else set()
    return [
        _elsewhere(rule) or sorted(reachable.intersection(map(str, some)))
        for (_, rule), some in zip(pairs, people, strict=True)
    ]


def _people(request: Request, rule: NotifyRule, in_roles: dict[tuple[UUID, str], set[UUID]]) -> set[UUID]:
    if rule.to == TO.REQUESTER:
        return {request.requester.owner_id or request.requester_id}
    return in_roles.get((request.tenant_id, rule.role), set()) if rule.to == TO.ROLE else set()


def _elsewhere(rule: NotifyRule) -> list[str]:
    if rule.to == TO.ADDRESSES:
        return [str(address) for address in rule.addresses[:MOST_ADDRESSES]]
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

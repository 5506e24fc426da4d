"""Which wishes for changes count: those of people who could still decide, by the rule that decisions are counted by."""

from collections.abc import Collection, Iterable
from uuid import UUID

from django.db.models import prefetch_related_objects

from approvals.models import Request
from approvals.people import Holders, holders, roles_of
from approvals.records import Ask
from tenants.access import delegation_chain


def standing(requests: Collection[Request]) -> dict[UUID, list[Ask]]:
    """The wishes that nobody took back, by request, oldest first; each knows whether it `counts` now.

    One query; three if there are any.
    """
    found: dict[UUID, list[Ask]] = {request.pk: [] for request in requests}
    if not found:
        return found
    for ask in Ask.objects.filter(request__in=list(found), withdrawn_at=None).select_related("principal__owner"):
        found[ask.request_id].append(ask)
    asked = [request for request in requests if found[request.pk]]
    if asked:
        prefetch_related_objects(asked, "requester__owner")
        held = holders(asked, {ask.principal_id for asks in found.values() for ask in asks})
        for request in asked:
            _judge(request, found[request.pk], held[request.pk])
    return found


def counting(asks: Iterable[Ask]) -> list[Ask]:
    """Those that keep their request from being approved. Pure."""
    return [ask for ask in asks if ask.counts]


def _judge(request: Request, asks: list[Ask], held: Holders) -> None:
    excluded = {*request.excluded, *map(str, delegation_chain(request.requester))}
    seats = {seat["role"] for seat in request.seats}
    for ask in asks:
        ask.counts = bool(seats & roles_of(ask.principal_id, held)) and str(ask.principal_id) not in excluded

"""Pages of the log, newest first, whatever is filtered on: by the index, and past its end straight from the log."""

from uuid import UUID

from django.db.models import Q

from audit.explore.indexer import upto
from audit.explore.models import IndexedEvent
from audit.models import Event
from audit.reading import Asked


def page_of(tenant: UUID, asked: Asked, before: int | None, limit: int) -> tuple[list[Event], int | None]:
    """The newest `limit` events, older than the event `before`; and the cursor of the page after, if there is one.

    What is not indexed yet is looked at event by event: it is little, and nothing recorded is missing from a page.
    """
    edge, _ = upto()
    fresh = Event.objects.filter(asked.condition(), tenant=tenant, pk__gt=edge)
    known = IndexedEvent.objects.filter(indexed(tenant, asked), tenant=tenant, event__lte=edge)
    if before is not None:
        fresh, known = fresh.filter(pk__lt=before), known.filter(event__lt=before)
    ids = [] if asked.is_placed else list(fresh.order_by("-pk").values_list("pk", flat=True)[: limit + 1])
    if len(ids) <= limit:
        ids += list(known.order_by("-event").values_list("event", flat=True)[: limit + 1 - len(ids)])
    events = sorted(Event.objects.filter(pk__in=ids[:limit]), key=lambda event: -event.pk)
    return events, ids[limit - 1] if len(ids) > limit else None


def indexed(tenant: UUID, asked: Asked) -> Q:
    """The same condition on the index's columns."""
    since, until = asked.window()
    equal = {"actor": asked.actor, "outcome": asked.outcome, "subject_id": asked.subject, "type": asked.type,
             "environment": asked.environment, "subject_kind": asked.kind,
             "at__gte": since, "at__lt": until}  # fmt: skip
    found = Q(**{name: value for name, value in equal.items() if value})
    if asked.verb:
        found &= Q(verb=asked.verb) | Q(verb__startswith=f"{asked.verb.rstrip('.')}.")
    if asked.correlation_id:
        found &= Q(event__in=Event.objects.filter(tenant=tenant, correlation_id=asked.correlation_id).values("pk"))
    return found

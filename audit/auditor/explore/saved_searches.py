"""Searches that auditors keep by name. They are their owner's; sharing lets the tenant's other auditors open them."""

from uuid import UUID

from django.db import IntegrityError, transaction
from django.http import QueryDict

from audit.auditor.log.event_list import FIRST_PAGE, LogFilters
from audit.errors import Conflict, Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.log.subjects import register_describer
from audit.models.auditor import SavedSearch

KIND = "saved_search"
MAX_SEARCHES = 100
MAX_NAME_CHARS = 80


class NameTaken(Conflict):
    """You already have a search with this name. Choose another name, or delete the old search."""

    code = "name_taken"


def create(
    tenant: UUID, by: str, name: str, query: str, *, is_shared: bool = False, correlation_id: str = ""
) -> SavedSearch:
    """Keep a search. Event `search.saved`. Raises Invalid, NameTaken, Conflict beyond 100."""
    name, query = (
        _check_name(name),
        LogFilters.read(QueryDict(query.removeprefix("?"))).address(**FIRST_PAGE).removeprefix("?"),
    )
    if SavedSearch.objects.filter(tenant=tenant, by=by).count() >= MAX_SEARCHES:
        raise Conflict(f"You have {MAX_SEARCHES} saved searches. Delete one first.")
    try:
        with transaction.atomic():
            made = SavedSearch.objects.create(tenant=tenant, by=by, name=name, query=query, is_shared=is_shared)
            _record_event(made, "search.saved", by, correlation_id, {"name": name, "query": query})
    except IntegrityError:
        raise NameTaken from None
    return made


def change(
    tenant: UUID,
    by: str,
    search_id: UUID,
    *,
    name: str | None = None,
    is_shared: bool | None = None,
    correlation_id: str = "",
) -> SavedSearch:
    """Rename or share one's own search. Event `search.changed`. Raises NotFound, Invalid, NameTaken."""
    try:
        with transaction.atomic():
            found = _own_search(tenant, by, search_id)
            found.name = found.name if name is None else _check_name(name)
            found.is_shared = found.is_shared if is_shared is None else is_shared
            found.save(update_fields=["name", "is_shared"])
            _record_event(found, "search.changed", by, correlation_id, {"name": found.name})
    except IntegrityError:
        raise NameTaken from None
    return found


def delete(tenant: UUID, by: str, search_id: UUID, *, correlation_id: str = "") -> None:
    """Delete one's own search. Event `search.deleted`. Raises NotFound."""
    with transaction.atomic():
        found = _own_search(tenant, by, search_id)
        _record_event(found, "search.deleted", by, correlation_id, {})
        found.delete()


def searches_of(tenant: UUID, by: str) -> list[SavedSearch]:
    """One's own searches, then those that others share, each by name. Two queries."""
    mine = SavedSearch.objects.filter(tenant=tenant, by=by)
    shared = SavedSearch.objects.filter(tenant=tenant, is_shared=True).exclude(by=by)
    return [*mine[:MAX_SEARCHES], *shared[:MAX_SEARCHES]]


def _own_search(tenant: UUID, by: str, search_id: UUID) -> SavedSearch:
    found = SavedSearch.objects.select_for_update().filter(tenant=tenant, by=by, pk=search_id).first()
    if found is None:
        raise NotFound
    return found


def _check_name(name: str) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= MAX_NAME_CHARS or "\x00" in name:
        message = f"Give the search a name of up to {MAX_NAME_CHARS} characters."
        raise Invalid(message, issues=[{"severity": "error", "message": message, "field": "name"}])
    return name


def _record_event(found: SavedSearch, verb: str, by: str, correlation_id: str, private: dict[str, str]) -> None:
    subject, facts = Subject(KIND, found.pk), {"shared": found.is_shared}
    record(NewEvent(found.tenant, subject, verb, by, "ok", correlation_id, facts, private))


def describe_searches(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    found = SavedSearch.objects.filter(tenant=tenant, pk__in=ids)
    return {it.pk: Subject(KIND, it.pk, f"Search “{it.name}”", f"/audit/?{it.query}") for it in found}


register_describer(KIND, describe_searches)


def erase_searches(tenant: UUID, person: UUID) -> int:
    return SavedSearch.objects.filter(tenant=tenant, by=str(person)).delete()[0]

"""How much there is behind each filter: counted among the newest events that match, never further."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from audit.explore.listing import indexed
from audit.explore.models import IndexedEvent
from audit.explore.search import Hit
from audit.reading import Asked
from audit.subjects import names_of_actors, names_of_places

MOST_COUNTED = 10_000
MOST_SHOWN = 12
FACETS = {
    "environment": "environment", "type": "type", "kind": "subject_kind", "verb": "verb", "outcome": "outcome",
    "actor": "actor",
}  # fmt: skip
"""Filter by the explorer's name → column."""


@dataclass(frozen=True)
class Value:
    value: str
    label: str
    count: int


@dataclass(frozen=True)
class Facets:
    """`total` events (or changes, of a search), at most `MOST_COUNTED`; with `is_capped`, there are more."""

    total: int
    is_capped: bool
    values: dict[str, list[Value]]

    @property
    def words(self) -> str:
        return f"{MOST_COUNTED:,}+" if self.is_capped else f"{self.total:,}"


def facets(tenant: UUID, asked: Asked) -> Facets:
    """Count the events that match, by each facet. One query over at most 10,001 of them, and one for names each."""
    columns = list(dict.fromkeys(FACETS.values()))
    newest = IndexedEvent.objects.filter(indexed(tenant, asked), tenant=tenant).order_by("-event")
    inner, parameters = newest.values(*columns)[: MOST_COUNTED + 1].query.sql_with_params()
    parts = " UNION ALL ".join(
        f"SELECT '{name}', CAST({column} AS varchar), COUNT(*) FROM newest GROUP BY {column}"
        for name, column in FACETS.items()
    )
    materialized = " MATERIALIZED" if connection.vendor == "postgresql" else ""
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(f"WITH newest AS{materialized} ({inner}) {parts}", parameters)
        for name, value, count in cursor.fetchall():
            counted[name][value or ""] = count
    total = sum(counted["verb"].values())
    return Facets(min(total, MOST_COUNTED), total > MOST_COUNTED, _labelled(tenant, counted))


def facets_of(tenant: UUID, hits: Iterable[Hit], is_whole: bool) -> Facets:
    """Count the hits of a search by where they are and what they are."""
    counted: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    total = 0
    for hit in hits:
        total += 1
        for name, value in (("environment", hit.environment), ("type", hit.type), ("kind", hit.kind)):
            counted[name][str(value or "")] += 1
    return Facets(total, not is_whole, _labelled(tenant, counted))


def _labelled(tenant: UUID, counted: dict[str, Any]) -> dict[str, list[Value]]:
    """The commonest values of each facet, with names for ids."""
    shown = {
        name: sorted(((v, n) for v, n in counts.items() if v), key=lambda it: (-it[1], it[0]))[:MOST_SHOWN]
        for name, counts in counted.items()
    }
    names = names_of_actors(tenant, {value for value, _ in shown.get("actor", [])})
    places = {str(pk): name for pk, name in names_of_places(tenant).items()} if "environment" in shown else {}
    known = {"actor": names, "environment": places}
    return {
        name: [Value(_plain(name, v), known.get(name, {}).get(_plain(name, v), _plain(name, v)), n) for v, n in found]
        for name, found in shown.items()
    }


def _plain(name: str, value: str) -> str:
    """SQLite keeps ids without their dashes."""
    return str(UUID(value)) if name == "environment" else value

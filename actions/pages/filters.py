"""The queue's filter bar: what may be asked, read from the address, and put into conditions."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from django.http import QueryDict
from django.utils import timezone

from actions.states import State
from actions.types.registry import executors
from audit.ui.glyphs import LABELS, TIERS
from tenants.models import Environment

TABS = {"needs": "Needs you", "all": "All open", "mine": "Mine", "ended": "Ended"}
SEARCHED_DAYS = 90
"""How far back a search among the ended looks; without a bound it would read every action there ever was."""


@dataclass(frozen=True)
class Filters:
    """What the reader asked for. Unknown values are dropped, never an error: addresses are edited by hand."""

    tab: str
    q: str = ""
    environment: str = ""
    state: str = ""
    tier: str = ""
    type: str = ""

    @classmethod
    def read(cls, query: QueryDict, tab: str) -> "Filters":
        def one_of(name: str, known: Any) -> str:
            value = query.get(name, "")
            return value if value in known else ""

        return cls(
            tab=tab,
            q=query.get("q", "").strip()[:200].replace("\x00", ""),
            environment=query.get("environment", "")[:63].replace("\x00", ""),
            state=one_of("state", [s.value for s in State]),
            tier=one_of("tier", TIERS),
            type=one_of("type", executors()),
        )

    def condition(self) -> Q:
        found = Q()
        for name in ("state", "tier", "type"):
            if value := getattr(self, name):
                found &= Q(**{name: value})
        if self.environment:
            found &= Q(environment__slug=self.environment)
        return found & self._search() if self.q else found

    def _search(self) -> Q:
        text = Q(title__icontains=self.q) | Q(ticket__icontains=self.q) | Q(type__icontains=self.q)
        text |= Q(requester__display_name__icontains=self.q) | Q(requester__username__icontains=self.q)
        with suppress(ValueError):
            text |= Q(pk=UUID(self.q))
        since = timezone.now() - timedelta(days=SEARCHED_DAYS)
        return text & Q(pk__gte=first_id_at(since.timestamp())) if self.tab in ("ended", "mine") else text

    def chips(self) -> list[dict[str, str]]:
        """What is filtered on, each with the address that takes it away."""
        shown = {
            "environment": self.environment,
            "state": LABELS.get(self.state, ""),
            "tier": self.tier,
            "type": self.type,
        }
        return [{"key": k, "value": v, "without": self.address(**{k: ""})} for k, v in shown.items() if v]

    def address(self, **changed: str) -> str:
        """The query string of these filters with some changed."""
        asked = {**vars(self), **changed}
        return "?" + urlencode({k: v for k, v in asked.items() if v})

    def choices(self, environments: list[Environment]) -> list[dict[str, Any]]:
        """The menus of the filter form."""
        menus = {
            "environment": [(e.slug, e.name) for e in environments],
            "state": [(s.value, LABELS[s.value]) for s in State],
            "tier": [(t, t.capitalize()) for t in TIERS],
            "type": [(name, it.title) for name, it in executors().items()],
        }
        return [{"name": name, "options": options, "value": getattr(self, name)} for name, options in menus.items()]

    def any(self) -> bool:
        return bool(self.q or self.chips())


def first_id_at(seconds: float) -> UUID:
    """The smallest UUIDv7 of a moment: ids sort by time, so this bounds a search without another index."""
    return UUID(int=(int(seconds * 1000) << 80) | (7 << 76) | (2 << 62))

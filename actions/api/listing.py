"""Lists of actions: what may be asked, put into conditions, and one page by keyset."""

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db.models import Q, QuerySet
from ninja import Field, Schema
from pydantic import field_validator

from actions.api.moments import Moment, milliseconds_of
from actions.api.reads import page, rows_of
from actions.models import Action
from actions.states import ENDED, LIVE, SEED_VOCABULARY, State
from audit.database.clock import database_time
from audit.errors import Invalid
from tenants.access import Access

OLDEST_SEARCHED = timedelta(days=90)
"""How far back a text search looks unless it says `since`: without a bound it would read every action ever made."""
CLOCKS_APART_MS = 300_000
TICK = timedelta(microseconds=1)
SPOKEN = {spoken: state for state, spoken in SEED_VOCABULARY.items()} | {"running": "in_progress"}
GROUPS = {"live": LIVE, "ended": ENDED}


class Asked(Schema):
    """The filters of a list; all of them must hold."""

    state: str = Field("", description="States, separated by commas; also `live`, `ended`, `pending`, `running`.")
    environment: str = Field("", description="A slug.")
    type: str = ""
    requester: str = Field("", description="A username or an id.")
    mine: bool = Field(False, description="Requested by you, or by an agent of yours.")
    tier: str = ""
    q: str = Field("", max_length=200, description="Text in title or ticket. Looks 90 days back, or to `since`.")
    ticket: str = ""
    correlation_id: str = ""
    since: Moment | None = Field(None, description="Created at or after.")
    until: Moment | None = Field(None, description="Created before.")
    after: UUID | None = Field(None, description="The `next` of the page before.")
    limit: int = Field(50, ge=1, le=100)
    vocabulary: Literal["", "seed"] = ""

    @field_validator("*", mode="before")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        if isinstance(value, str) and "\x00" in value:
            raise ValueError("NUL characters are not accepted.")
        return value

    def condition(self, access: Access) -> Q:
        """The conditions on actions that these filters stand for. Raises Invalid for a state that there is not."""
        exact = {
            "environment__slug": self.environment,
            "type": self.type,
            "tier": self.tier,
            "ticket": self.ticket,
            "correlation_id": self.correlation_id,
        }
        found = Q(**{name: value for name, value in exact.items() if value})
        if self.state:
            found &= Q(state__in=states_named(self.state))
        if self.requester:
            found &= _requester(self.requester)
        if self.mine:
            found &= Q(requester=access.principal.pk) | Q(requester__owner=access.principal.pk)
        if self.q:
            found &= Q(title__icontains=self.q) | Q(ticket__icontains=self.q)
        since = self.since or (database_time() - OLDEST_SEARCHED if self.q else None)
        return found & _created(since, self.until)


class PendingAsked(Asked):
    """The filters of what waits for people."""

    me: Literal["", "me"] = Field("", alias="for", description="`me`: what you could approve or accept now.")


def states_named(text: str) -> set[str]:
    """The states that a list of words means, in our words or the seeds'. Raises Invalid naming the unknown ones."""
    known = {state.value for state in State}
    found, unknown = set(), []
    for word in filter(None, (part.strip() for part in text.split(","))):
        meant = GROUPS.get(word) or {SPOKEN.get(word, word)}
        found |= {str(state) for state in meant} & known
        unknown += [] if set(map(str, meant)) <= known else [word]
    if unknown:
        words = f"No such state: {', '.join(unknown)[:200]}. States are {', '.join(sorted(known))}, live and ended."
        raise Invalid(issues=[{"severity": "error", "message": words, "field": "state"}])
    return found


def list_page(access: Access, base: Q, asked: Asked) -> dict[str, Any]:
    """One page, newest first, and the cursor of the next."""
    found: QuerySet[Action, Any] = rows_of(access).filter(base, asked.condition(access))
    if asked.after:
        found = found.filter(pk__lt=asked.after)
    actions = list(found.order_by("-pk")[: asked.limit + 1])
    more = str(actions[asked.limit - 1].pk) if len(actions) > asked.limit else None
    return {"items": page(access, actions[: asked.limit], asked.vocabulary), "next": more}


def _requester(text: str) -> Q:
    try:
        return Q(requester=UUID(text))
    except ValueError:
        return Q(requester__username__iexact=text)


def _created(since: datetime | None, until: datetime | None) -> Q:
    """
    Times as times, and roughly as ids too: ids sort by time, so the keyset's own index bounds the search.

    SQLite compares times as texts, and those it writes itself have three decimals: equal is never asked for.
    """
    found = Q()
    if since:
        found &= Q(created_at__gt=since - TICK, pk__gte=_first_id_at(milliseconds_of(since) - CLOCKS_APART_MS))
    if until:
        found &= Q(created_at__lte=until - TICK, pk__lt=_first_id_at(milliseconds_of(until) + CLOCKS_APART_MS))
    return found


def _first_id_at(milliseconds: int) -> UUID:
    """The smallest UUIDv7 of a moment."""
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))

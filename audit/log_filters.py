"""The log's filter bar: what may be asked, read from the address."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict

from audit.reading import Asked

LABELS = {
    "q": "words", "around": "around", "subject": "subject", "environment": "environment", "type": "type",
    "kind": "kind", "actor": "actor", "verb": "event", "outcome": "outcome", "correlation_id": "correlation",
    "since": "since", "until": "before",
}  # fmt: skip
DAYS = (0, 1, 3, 7, 30)
USUAL_DAYS = 3
LONGEST = 128
FIELDS = ("q", "around")
MENU = ("subject", "actor", "verb", "outcome", "correlation_id", "since", "until")
START: dict[str, Any] = {"page": None, "before": None, "open": None}


@dataclass(frozen=True)
class Filters:
    """What the reader asked for, as text. Unreadable values are dropped: addresses are edited by hand."""

    subject: str = ""
    actor: str = ""
    verb: str = ""
    outcome: str = ""
    correlation_id: str = ""
    since: str = ""
    until: str = ""
    q: str = ""
    environment: str = ""
    type: str = ""
    kind: str = ""
    around: str = ""
    days: str = ""
    page: int | None = None
    before: int | None = None
    open: int | None = None

    @classmethod
    def read(cls, query: QueryDict) -> "Filters":
        text = {name: query.get(name, "").strip().replace("\x00", "")[:LONGEST] for name in LABELS}
        for name in ("subject", "environment"):
            text[name] = str(_uuid(text[name]) or "")
        for name in ("since", "until"):
            text[name] = text[name] if _moment(text[name]) else ""
        text["around"] = moment.date().isoformat() if (moment := _moment(text["around"])) else ""
        days = query.get("days", "")
        text["days"] = days if text["around"] and days in map(str, DAYS) and days != str(USUAL_DAYS) else ""
        page, before, opened = (_number(query.get(name)) for name in ("page", "before", "open"))
        return cls(**text, page=page, before=before, open=opened)

    def asked(self) -> Asked:
        return Asked(
            subject=_uuid(self.subject), actor=self.actor, verb=self.verb, outcome=self.outcome,
            correlation_id=self.correlation_id, since=_moment(self.since), until=_moment(self.until),
            environment=_uuid(self.environment), type=self.type, kind=self.kind, words=self.q,
            around=day.date() if (day := _moment(self.around)) else None, days=int(self.days or USUAL_DAYS),
        )  # fmt: skip

    @property
    def days_around(self) -> int:
        return int(self.days or USUAL_DAYS)

    def address(self, **changes: Any) -> str:
        """The query string of these filters with some changed. None and "" leave one out."""
        changed = replace(self, **changes)
        values = {field.name: getattr(changed, field.name) for field in fields(changed)}
        return "?" + urlencode({name: value for name, value in values.items() if value})

    def kept(self) -> list[tuple[str, str]]:
        """What the search form carries along: the filters that it has no field for."""
        return [(name, getattr(self, name)) for name in LABELS if name not in FIELDS and getattr(self, name)]

    def kept_by_menu(self) -> list[tuple[str, str]]:
        """The same for the menu of the other filters."""
        names = [name for name in LABELS if name not in MENU]
        return [(name, getattr(self, name)) for name in [*names, "days"] if getattr(self, name)]

    def chips(self) -> list[dict[str, str]]:
        """What is filtered on, each with the address that takes it away."""
        return [
            {"name": name, "key": label, "value": self._said(name), "without": self.address(**{name: "", **START})}
            for name, label in LABELS.items() if getattr(self, name)
        ]  # fmt: skip

    def _said(self, name: str) -> str:
        text = str(getattr(self, name))
        return f"{text} ± {self.days_around} day{'' if self.days_around == 1 else 's'}" if name == "around" else text


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _moment(text: str) -> datetime | None:
    """A date, or a date and time (UTC unless it says otherwise), between 2000 and 9000."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 2000 <= moment.year <= 9000:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

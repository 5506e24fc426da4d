"""The log's filter bar: what may be asked, read from the address."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict

from audit.reading import Asked

LABELS = {
    "subject": "subject", "actor": "actor", "verb": "event", "outcome": "outcome", "correlation_id": "correlation",
    "since": "since", "until": "before",
}  # fmt: skip
LONGEST = 128
START: dict[str, Any] = {"before": None, "open": None}


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
    before: int | None = None
    open: int | None = None

    @classmethod
    def read(cls, query: QueryDict) -> "Filters":
        text = {name: query.get(name, "").strip().replace("\x00", "")[:LONGEST] for name in LABELS}
        text["subject"] = str(_uuid(text["subject"]) or "")
        for name in ("since", "until"):
            text[name] = text[name] if _moment(text[name]) else ""
        return cls(**text, before=_number(query.get("before")), open=_number(query.get("open")))

    def asked(self) -> Asked:
        return Asked(
            subject=_uuid(self.subject), actor=self.actor, verb=self.verb, outcome=self.outcome,
            correlation_id=self.correlation_id, since=_moment(self.since), until=_moment(self.until),
        )  # fmt: skip

    def address(self, **changes: Any) -> str:
        """The query string of these filters with some changed. None and "" leave one out."""
        changed = replace(self, **changes)
        values = {field.name: getattr(changed, field.name) for field in fields(changed)}
        return "?" + urlencode({name: value for name, value in values.items() if value})

    def chips(self) -> list[dict[str, str]]:
        """What is filtered on, each with the address that takes it away."""
        return [
            {"key": label, "value": getattr(self, name), "without": self.address(**{name: "", **START})}
            for name, label in LABELS.items() if getattr(self, name)
        ]  # fmt: skip


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

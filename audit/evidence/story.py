"""What of a long chain of events goes on paper: its beginning and end, all decisions and plans, who did what."""

import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Any

from audit.verify.events import commitments_of

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32,64}")
MAX_HEAD, MAX_TAIL = 300, 100  # events of the timeline
MAX_KEPT = 300  # decisions, plans, verdicts
MAX_ACTORS = 5_000
MAX_FACTS = 160  # characters of an event's facts in the timeline
QUIET_FACTS = ("digest", "facts_sha256", "key", "parameters_sha256")


class Story:
    """Fed event by event; keeps a bounded part."""

    def __init__(self) -> None:
        self.head: list[dict[str, Any]] = []
        self.tail: deque[dict[str, Any]] = deque(maxlen=MAX_TAIL)
        self.events = 0
        self.actors: set[str] = set()
        self.did: dict[str, Counter[str]] = defaultdict(Counter)
        self.decisions: list[dict[str, Any]] = []
        self.plans: list[dict[str, Any]] = []
        self.verdicts: list[dict[str, Any]] = []
        self.state = ""

    def add(self, event: Mapping[str, Any], values: Mapping[str, str | None]) -> None:
        self.events += 1
        row = _row(event, values)
        if len(self.head) < MAX_HEAD:
            self.head.append(row)
        else:
            self.tail.append(row)
        if len(self.actors) < MAX_ACTORS:
            self.actors.add(event["actor"])
            self.did[event["actor"]][event["verb"]] += 1
        kept = {"approval": self.decisions, "preflight.planned": self.plans, "policy.judged": self.verdicts}
        for verb, rows in kept.items():
            if (event["verb"] == verb or event["verb"].startswith(f"{verb}.")) and len(rows) < MAX_KEPT:
                rows.append({**row, "facts": dict(event["facts"]), "artifacts": list(event["artifacts"])})
        if isinstance(event["facts"].get("to"), str):
            self.state = event["facts"]["to"]

    @property
    def left_out(self) -> int:
        """How many events are between the head and the tail."""
        return self.events - len(self.head) - len(self.tail)


def _row(event: Mapping[str, Any], values: Mapping[str, str | None]) -> dict[str, Any]:
    return {
        "seq": event["seq"], "at": event["at"], "verb": event["verb"], "outcome": event["outcome"],
        "actor": event["actor"], "values": dict(values), "said": _said(event),
    }  # fmt: skip


def _said(event: Mapping[str, Any]) -> str:
    """The facts in one short line: states as from → to, no ids or digests (they are in the file), no private values."""
    facts = {k: v for k, v in event["facts"].items() if k not in commitments_of(event) and k not in QUIET_FACTS}
    parts = []
    if "from" in facts and "to" in facts:
        parts.append(f"{facts.pop('from')} → {facts.pop('to')}")
    parts += [f"{name} {said}" for name, value in facts.items() if (said := _short(value))]
    text = " · ".join(parts)
    return text if len(text) <= MAX_FACTS else text[:MAX_FACTS] + " …"


def _short(value: Any) -> str:
    """A value in a few words; "" for ids, nothing, and what is too large to read in a line."""
    if isinstance(value, str):
        return "" if ID.fullmatch(value) else value
    text = json.dumps(value, ensure_ascii=False, sort_keys=True) if value not in (None, [], {}) else ""
    return text if len(text) <= 60 else ""

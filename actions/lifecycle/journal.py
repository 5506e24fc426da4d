"""The step journal as state: which steps were tried, are done, or were left open by a crash."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from actions.models import JournalEntry

Kind = JournalEntry.Kind


@dataclass
class StepRecord:
    """One step's state: pending, open, done, failed, skipped, undoing, undone, undo_failed."""

    state: str = "pending"
    attempt: int = 0
    undo_attempt: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    started_at: Any = None
    ended_at: Any = None
    effect: bool = False
    """Whether the step is in effect, by the journal."""
    retry_at: datetime | None = None
    """When an open step is retried; no attempt runs before."""

    def shown(self, now: datetime) -> str:
        """The state as people see it: `waiting` if an open step waits for a retry."""
        return "waiting" if self.state == "open" and self.retry_at and self.retry_at > now else self.state


STATE_AFTER = {
    Kind.INTENT: "open",
    Kind.RECEIPT: "done",
    Kind.FAILURE: "failed",
    Kind.SKIP: "skipped",
    Kind.UNDO_INTENT: "undoing",
    Kind.UNDO_RECEIPT: "undone",
    Kind.UNDO_FAILURE: "undo_failed",
}


def _may_have_effect(facts: dict[str, Any]) -> bool:
    """Whether a failed step has, or may have, its effect: unknown ones are undone with the rest."""
    return bool(facts.get("effect")) or facts.get("probe") == "unknown"


@dataclass
class Journal:
    records: dict[str, StepRecord] = field(default_factory=dict)
    is_simulated: bool = False
    """Whether the run is simulated: then no step has an effect."""

    @classmethod
    def of(cls, lines: Iterable[JournalEntry], is_simulated: bool = False) -> "Journal":
        journal = cls(is_simulated=is_simulated)
        for line in lines:
            journal.add(line)
        return journal

    def add(self, line: JournalEntry) -> None:
        record = self.records.setdefault(line.step, StepRecord())
        record.state = STATE_AFTER[Kind(line.kind)]
        if line.kind.startswith("undo"):
            record.undo_attempt = line.attempt
        else:
            record.attempt = line.attempt
        again = line.facts.get("retry_at") if line.kind == Kind.INTENT else None
        record.retry_at = datetime.fromisoformat(again) if again else None
        if line.kind == Kind.INTENT:
            record.started_at = record.started_at or line.at
        else:
            record.ended_at = line.at
        if line.kind == Kind.RECEIPT:
            record.effect, record.facts = not self.is_simulated, line.facts
        elif line.kind == Kind.FAILURE:
            record.effect, record.facts = _may_have_effect(line.facts) and not self.is_simulated, line.facts
        elif line.kind == Kind.UNDO_RECEIPT:
            record.effect = False
        if log := line.__dict__.get("log"):  # deferred by queries that do not need it
            record.log.extend(log.splitlines())

    def __getitem__(self, step: str) -> StepRecord:
        return self.records.get(step) or StepRecord()

    def open_steps(self) -> frozenset[str]:
        return frozenset(key for key, r in self.records.items() if r.state in ("open", "undoing"))

    def done(self) -> int:
        """How many steps have their receipt and are not undone."""
        return sum(r.state == "done" for r in self.records.values())

    def retries(self) -> int:
        """The number of retries of all steps."""
        return sum(max(0, r.attempt - 1) for r in self.records.values())

    def superseded(self) -> set[str]:
        """The failed steps that a fallback step replaces."""
        return {key for key, r in self.records.items() if r.state == "failed" and r.facts.get("strategy") == "fallback"}

    def settled(self, steps: list[dict[str, Any]]) -> set[str]:
        """The steps that are done, skipped, or replaced by a fallback step that is."""
        found = {key for key, r in self.records.items() if r.state in ("done", "skipped")}
        for step in reversed(steps):
            if step.get("fallback_for") and step["key"] in found:
                found.add(step["fallback_for"])
        return found

    def with_effect(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of these steps that are in effect."""
        return [s for s in steps if self[s["key"]].effect]


AttemptKey = tuple[str, int, bool]
"""A step's key, the number of an attempt at it, and whether that undoes."""

"""The life of a change as its events tell it: who asked, who decided, what was out of the ordinary, how it ended.

Reports rest on events, which are chained and sealed, and take from the tables only what no event says.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from actions.models import Action
from audit.auditor.reports.registry import ReportScope
from audit.log.query import read_envelope
from audit.models import Event

BATCH = 200
CLOCKS_APART = timedelta(days=1)
INTERVENTIONS = frozenset(
    {
        "action.resume",
        "action.roll_back",
        "action.abort_requested",
        "action.cancel",
        "action.fail",
        "action.hold",
        "step.resolved",
    }
)
"""What a person does to a change that is under way, once it was decided."""


@dataclass(frozen=True)
class Decided:
    """Somebody's approval that stands, rejection, acceptance or refused attempt."""

    who: str
    what: str
    role: str
    at: datetime
    digest: str = ""
    why: str = ""


@dataclass
class ChangeHistory:
    """Everything the reports say of one change. People are ids, as events have them."""

    action: Action
    requester: str = ""
    owner: str = ""
    decided: list[Decided] = field(default_factory=list)
    hands: list[tuple[str, str]] = field(default_factory=list)
    """(who, verb) of people who stepped in."""
    exceptions: list[tuple[str, datetime, int, str]] = field(default_factory=list)
    """(what, when, seq, who)."""
    digest: str = ""
    events: int = 0
    head: str = ""

    @property
    def approvals(self) -> list[Decided]:
        return [one for one in self.decided if one.what in ("approved", "accepted")]


def change_histories(wanted: ReportScope) -> Iterator[list[ChangeHistory]]:
    """The changes proposed in the period, oldest first, in batches of 200: three queries each, over indexes."""
    after: UUID | None = None
    while True:
        actions = _batch(wanted, after)
        if not actions:
            return
        told = _events_of(actions)
        yield [fold_history(action, told[action.pk]) for action in actions]
        after = actions[-1].pk


def fold_history(action: Action, events: Sequence[Event]) -> ChangeHistory:
    """Fold a change's events, in order. Pure."""
    life = ChangeHistory(action, owner=str(action.requester.owner_id or ""), requester=str(action.requester_id))
    for event in events:
        facts = read_envelope(event).get("facts") or {}
        life.events, life.head = event.seq, bytes(event.hash).hex()
        life.digest = str(facts.get("digest") or life.digest) if event.verb == "preflight.planned" else life.digest
        _decision(life, event, facts)
        _exception(life, event, facts)
        if event.verb in INTERVENTIONS and not event.actor.startswith("system:"):
            life.hands.append((event.actor, event.verb))
    return life


def _batch(wanted: ReportScope, after: UUID | None) -> list[Action]:
    """Ids begin with the milliseconds of a clock beside the database's: they bound the search, times decide."""
    found = Action.objects.filter(tenant=wanted.tenant)
    if wanted.environment:
        found = found.filter(environment=wanted.environment)
    if wanted.since and wanted.until:
        found = found.filter(created_at__gte=wanted.since, created_at__lt=wanted.until)
        first, last = least_id(wanted.since - CLOCKS_APART), least_id(wanted.until + CLOCKS_APART)
        found = found.filter(pk__gte=first, pk__lt=last)
    if after:
        found = found.filter(pk__gt=after)
    return list(found.select_related("requester", "environment", "plan").order_by("pk")[:BATCH])


def least_id(at: datetime) -> UUID:
    """The least id that a change proposed then may have."""
    return UUID(int=max(0, int(at.timestamp() * 1_000)) << 80)


def _events_of(actions: Sequence[Action]) -> dict[UUID, list[Event]]:
    found: dict[UUID, list[Event]] = defaultdict(list)
    ids = [action.pk for action in actions]
    for event in Event.objects.filter(subject_id__in=ids).order_by("subject_id", "seq").iterator(chunk_size=1_000):
        found[event.subject_id].append(event)
    return found


DECISION_TEXTS = {
    "approval.granted": "approved",
    "approval.rejected": "rejected",
    "approval.accepted": "accepted",
    "approval.refused": "was refused",
    "approval.changes_requested": "asked for changes",
}


def _decision(life: ChangeHistory, event: Event, facts: dict[str, Any]) -> None:
    if event.verb in DECISION_TEXTS:
        role, digest, why = (str(facts.get(name) or "") for name in ("role", "digest", "why"))
        life.decided.append(Decided(event.actor, DECISION_TEXTS[event.verb], role, event.at, digest, why))
    elif event.verb in ("approval.withdrawn", "action.reopen"):
        everyone = event.verb == "action.reopen" and event.actor.startswith("system:")  # drift voids what all said
        life.decided = [
            one for one in life.decided if one.what != "approved" or not (everyone or one.who == event.actor)
        ]


def _exception(life: ChangeHistory, event: Event, facts: dict[str, Any]) -> None:
    words = describe_exception(event.verb, event.outcome, facts)
    if words:
        life.exceptions.append((words, event.at, event.seq, event.actor))


def describe_exception(verb: str, outcome: str, facts: dict[str, Any]) -> str:
    """What is out of the ordinary in an event of a change, in words; "" if nothing is."""
    if verb == "action.approve" and facts.get("because"):
        return f"ran without approval: {facts['because']}"
    if verb == "approval.refused":
        return f"a decision was refused: {facts.get('why', '')}"
    if verb == "action.reopen":
        return f"approval was void: {facts.get('because') or 'the plan or the rules changed'}"
    if verb == "action.hold":
        return f"held: {facts.get('reason') or facts.get('because') or 'a person has to decide'}"
    if verb in EXCEPTION_TEXTS:
        return EXCEPTION_TEXTS[verb]
    impact = facts.get("prediction_accuracy")
    if isinstance(impact, dict) and impact.get("checks_failed"):
        return f"verification failed: {impact['checks_failed']} of {impact.get('checks')} checks"
    return f"{verb}: {outcome}" if verb.startswith("action.") and outcome not in ("ok", "failed") else ""


EXCEPTION_TEXTS = {
    "approval.withdrawn": "an approval was taken back",
    "approval.change_request_lapsed": "a wish for changes lapsed",
    "action.deny": "denied by the rules",
    "action.roll_back": "rolled back",
    "action.fail": "failed",
    "action.expire": "expired undecided",
    "action.abort_requested": "a stop was asked for",
    "action.break_glass": "ran by breaking glass",
    "preflight.drifted": "the target had changed since the plan",
    "lease.lost": "its worker was lost",
}

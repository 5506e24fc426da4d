"""
Reports on changes: every change with its approvals, and the separation of duties.

They rest on events, which are chained and sealed, and read tables only for what no event says.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from actions.models import Action
from audit.auditor.reports.registry import Column, Report, ReportScope, Row
from audit.changes.masking import visible
from audit.log.query import read_envelope
from audit.log.subjects import actor_names, agent_owners
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
"""What a person does to a change after its decision."""


@dataclass(frozen=True)
class Decided:
    """A valid approval, a rejection, an acceptance or a refused attempt."""

    who: str
    what: str
    role: str
    at: datetime
    digest: str = ""
    why: str = ""


@dataclass
class ChangeHistory:
    """One change, for the reports. People are ids, as in events."""

    action: Action
    requester: str = ""
    owner: str = ""
    decided: list[Decided] = field(default_factory=list)
    hands: list[tuple[str, str]] = field(default_factory=list)
    """(who, verb) of people who intervened."""
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
    "approval.changes_requested": "requested changes",
}


def _decision(life: ChangeHistory, event: Event, facts: dict[str, Any]) -> None:
    if event.verb in DECISION_TEXTS:
        role, digest, why = (str(facts.get(name) or "") for name in ("role", "digest", "why"))
        life.decided.append(Decided(event.actor, DECISION_TEXTS[event.verb], role, event.at, digest, why))
    elif event.verb in ("approval.withdrawn", "action.reopen"):
        everyone = event.verb == "action.reopen" and event.actor.startswith("system:")  # drift voids all approvals
        life.decided = [
            one for one in life.decided if one.what != "approved" or not (everyone or one.who == event.actor)
        ]


def _exception(life: ChangeHistory, event: Event, facts: dict[str, Any]) -> None:
    words = describe_exception(event.verb, event.outcome, facts)
    if words:
        life.exceptions.append((words, event.at, event.seq, event.actor))


def describe_exception(verb: str, outcome: str, facts: dict[str, Any]) -> str:
    """The exception in an event of a change, in words; "" if there is none."""
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
    "approval.withdrawn": "an approval was withdrawn",
    "approval.change_request_lapsed": "a request for changes lapsed",
    "action.deny": "denied by policies or matrix",
    "action.roll_back": "rolled back",
    "action.fail": "failed",
    "action.expire": "expired undecided",
    "action.abort_requested": "a stop was requested",
    "action.break_glass": "ran with break-glass",
    "preflight.drifted": "the target had changed since the plan",
    "lease.lost": "its worker was lost",
}


# Reports on changes: every change with its approvals, and the separation of duties.


CHANGES_COLUMNS = (
    Column("requested_at", "Asked at", 3),
    Column("title", "Change", 6),
    Column("type", "Type", 3),
    Column("environment", "Where", 2),
    Column("tier", "Tier", 2),
    Column("requested_by", "Asked by", 3),
    Column("answers_for", "Its owner", 3),
    Column("approved_by", "Approved by", 5),
    Column("exceptions", "Exceptions", 5),
    Column("state", "Ended as", 3),
    Column("ended_at", "Ended at", 3),
    Column("plan", "Plan", 3),
    Column("events", "#", 1),
    Column("head", "Hash of the last", 3),
    Column("id", "Id", 4),
)


def change_rows(wanted: ReportScope) -> Iterator[Row | None]:
    for batch in change_histories(wanted):
        people = {who for life in batch for who in people_of(life)}
        names = actor_names(wanted.tenant, people)
        for life in batch:
            yield None
            yield _change_row(life, names)


def people_of(life: ChangeHistory) -> set[str]:
    found = {life.requester, *(one.who for one in life.decided), *(who for who, _ in life.hands)}
    return found | ({life.owner} if life.owner else set())


def _change_row(life: ChangeHistory, names: dict[str, str]) -> dict[str, Any]:
    action = life.action
    return {
        "id": str(action.pk),
        "requested_at": action.created_at,
        "title": visible(action.title),
        "type": action.type,
        "environment": action.environment.slug,
        "tier": action.tier,
        "requested_by": visible(names[life.requester]),
        "answers_for": visible(names[life.owner]) if life.owner else "",
        "approved_by": [describe_decision(one.what, names[one.who], one.role, one.at) for one in life.approvals],
        "exceptions": [visible(what) for what, *_ in life.exceptions],
        "state": action.state,
        "ended_at": action.completed_at,
        "plan": life.digest[:16],
        "events": life.events,
        "head": life.head[:16],
    }


def describe_decision(what: str, name: str, role: str, at: Any) -> str:
    """“Ann as approver, 2026-07-03 09:12” for an approval; with the word for anything else."""
    word = "" if what == "approved" else f" {what}"
    return f"{visible(name)}{word}{f' as {visible(role)}' if role else ''}, {at:%Y-%m-%d %H:%M}"


CHANGES_REPORT = Report(
    kind="changes",
    title="Evidence for a period",
    question="Which changes were proposed in this period, who approved exactly what, and which exceptions occurred?",
    columns=CHANGES_COLUMNS,
    rows=change_rows,
    looked_at="changes",
    shows="Every change proposed in the period: its requester (and an agent's owner), each approval valid at the end "
    "with role and time, every exception, the digest of the approved plan, and the hash of its last event, with which "
    "its evidence pack ends.",
    shows_not="Diffs and texts: they are in the evidence pack of each change. Changes made outside Interlock. "
    "Changes under way appear in their state at the time of the report.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
)


# Separation of duties: requester, approver and intervening people must differ.


@dataclass(frozen=True)
class Overlap:
    what: str
    who: str
    is_breach: bool


def overlap_rows(wanted: ReportScope) -> Iterator[Row | None]:
    for batch in change_histories(wanted):
        people = {who for life in batch for who in people_of(life)}
        names, owners = actor_names(wanted.tenant, people), agent_owners(wanted.tenant, people)
        for life in batch:
            yield None
            for overlap in overlaps(life, owners):
                yield {
                    "requested_at": life.action.created_at,
                    "title": visible(life.action.title),
                    "environment": life.action.environment.slug,
                    "tier": life.action.tier,
                    "what": overlap.what,
                    "who": visible(names.get(overlap.who, overlap.who)),
                    "weight": "breach" if overlap.is_breach else "to look at",
                    "state": life.action.state,
                    "id": str(life.action.pk),
                }


def overlaps(life: ChangeHistory, owners: dict[str, str]) -> list[Overlap]:
    """Conflicts of duties, the worst first. `owners`: an agent's owner counts as the agent. Pure."""
    asked = {life.requester, *_chain(life.requester, owners)} | ({life.owner} if life.owner else set())
    approved = {one.who for one in life.decided if one.what == "approved"}
    hands = dict(life.hands)
    found = [
        Overlap("approved what they, or an agent of theirs, requested", who, True) for who in sorted(approved & asked)
    ]
    found += [Overlap("an agent approved", who, True) for who in sorted(approved & owners.keys())]
    together = sorted({owner for who, owner in owners.items() if who in hands} & approved)
    found += [Overlap("approved, and an agent of theirs intervened", who, False) for who in together]
    both = sorted(approved & hands.keys())
    found += [Overlap(f"approved it and intervened ({hands[who]})", who, False) for who in both]
    if not approved:
        found += [
            Overlap(f"requested it and intervened, and nobody else approved ({hands[who]})", who, False)
            for who in sorted(asked & hands.keys())
        ]
    return found


def _chain(who: str, owners: dict[str, str]) -> list[str]:
    """The owners of an agent, up the chain; each once."""
    found: list[str] = []
    while (who := owners.get(who, "")) and who not in found:
        found.append(who)
    return found


DUTIES_REPORT = Report(
    kind="separation_of_duties",
    title="Separation of duties",
    question="Did the same person request, approve or intervene in one change?",
    columns=(
        Column("requested_at", "Asked at", 3),
        Column("title", "Change", 6),
        Column("environment", "Where", 2),
        Column("tier", "Tier", 2),
        Column("who", "Who", 3),
        Column("what", "Did what", 6),
        Column("weight", "Weight", 2),
        Column("state", "Ended as", 3),
        Column("id", "Id", 5),
    ),
    rows=overlap_rows,
    looked_at="changes",
    shows="For every change proposed in the period, its requester, the owner of a requesting agent, everybody "
    "whose approval counted, and every person who intervened while it ran (resume, roll back, abort, resolve a doubt), "
    "compared with each other. A breach is an approval by the requesting side or by an agent. Interlock refuses "
    "these, so a breach means that somebody bypassed it. Workers run the steps; they count as nobody.",
    shows_not="Two accounts of one person. Agreements between people. Who reviewed code or configuration before it was "
    "proposed. Owners are those of now.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
)

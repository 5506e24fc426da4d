"""
Commit transitions: the only code that writes `Action.state`.

A move is a guarded UPDATE over many actions at once, the rows that belong to it, and its events, in one transaction. A
transition whose guard did not match leaves nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.dispatch import Signal

from actions.lifecycle.admission import acquire_locks, check_limits, release_ended, release_refused
from actions.lifecycle.guarded_update import UpdatedRow, bump_seq, guarded_update
from actions.lifecycle.prediction_accuracy import ends_a_run, record_accuracy
from actions.lifecycle.transitions import MOVES, Note, Transition
from actions.models import Action, BeforeImage, JournalEntry, Plan, Quarantine
from approvals.models import Request
from approvals.requests.lifecycle import REQUEST_COLUMNS, request_row
from audit.database.statements import Rows, insert_together
from audit.log.artifacts import artifact_rows
from audit.log.events import ChainHead, NewEvent, Subject, build_rows, read_chain_heads, register_sequencer

committed = Signal()
"""Sent once after the commit of a group of writes: `changes` is a list of `Changed`."""


@dataclass(frozen=True)
class Changed:
    action_id: UUID
    tenant_id: UUID
    environment_id: UUID
    state: str
    seq: int
    leased: bool
    node: str = ""


def commit(transitions: Sequence[Transition]) -> list[Transition]:
    """
    Commit many transitions in one transaction; return those whose guard matched, with updated snapshots.

    Raises nothing for the others: their action moved on, or their lease was lost. Every transition needs a verb that
    its action's state allows, or at least an event: the guard counts events.
    """
    for transition in transitions:
        if not transition.verb and not transition.notes:
            raise ValueError("a transition without an event could be committed twice")
        if transition.verb and transition.action.state not in MOVES[transition.verb].sources:
            raise ValueError(f"{transition.verb} does not lead out of {transition.action.state}")
    with transaction.atomic():
        for transition in transitions:
            transition.undo_deferral()
        check_limits(transitions)
        locked = acquire_locks(transitions)
        rows = guarded_update([_guard(transition) for transition in transitions])
        applied = [transition for transition in transitions if transition.action.pk in rows]
        release_ended(applied)
        release_refused([transition for transition in locked if transition.action.pk not in rows])
        if not applied:
            return []
        events, known = _events_of(applied, next(iter(rows.values())).at)
        artifacts = artifact_rows([p for transition in applied for p in transition.packs])
        for more in artifacts[1:]:
            insert_together([more])
        insert_together([*_rows_of(applied, {pk: row.at for pk, row in rows.items()}), *artifacts[:1], *events])
        _record_accuracy(applied)
        changes = [_changed(transition, rows[transition.action.pk].seq) for transition in applied]
        transaction.on_commit(lambda: committed.send(None, changes=changes))
    for transition in applied:  # after the commit: a failed one may be retried from the unchanged snapshots
        _update_snapshot(transition, rows[transition.action.pk], known[transition.action.pk])
    return applied


def advance(action_ids: Iterable[UUID], verb: str, *, by: str, correlation_id: str = "", **more: Any) -> list[Action]:
    """
    Move many actions at once, for a person or the sweep; return those that moved.

    Locks the rows in a source state, then writes; a worker that holds one of them loses it, because the guard of its
    next transition no longer matches. `more` are fields of `Transition`. A given `correlation_id` is recorded in the
    facts beside the action's own.
    """
    facts = dict(more.pop("facts", {}))
    if correlation_id:
        facts["via"] = correlation_id
    release = more.pop("release", True)
    with transaction.atomic():
        found = Action.objects.select_for_update().filter(pk__in=list(action_ids), state__in=MOVES[verb].sources)
        transitions = [Transition(a, verb, by=by, facts=facts, release=release, **more) for a in found.order_by("pk")]
        return [transition.action for transition in commit(transitions)] if transitions else []


def record_note(action: Action, entry: Note, *, by: str, **more: Any) -> bool:
    """Record an event on an action without moving it; False if it moved on meanwhile."""
    return bool(commit([Transition(action, by=by, notes=[entry], **more)]))


def _guard(transition: Transition) -> dict[str, Any]:
    return {
        "id": transition.action.pk,
        "source": str(transition.action.state),
        "seq": transition.action.seq,
        "target": str(transition.target),
        "events": len(transition.events()),
        "fenced": transition.lease is not None,
        "lease": transition.lease,
        "release": transition.release,
        "stop": transition.stop,
        "ttl_s": transition.ttl_s,
        "plan": transition.plan.pk if transition.plan else None,
        "begins": transition.begins,
        "admitted": transition.admitted or not transition.enters,
        **transition.sets,
    }


PLAN_COLUMNS = tuple(str(f.column) for f in Plan._meta.concrete_fields)
PLAN_FIELDS = tuple(f.attname for f in Plan._meta.concrete_fields)
IMAGE_COLUMNS = ("action_id", "step", "ciphertext")
QUARANTINE_FIELDS = tuple(f.attname for f in Quarantine._meta.concrete_fields)
JOURNAL_COLUMNS = ("action_id", "plan_id", "step", "attempt", "kind", "lease", "at", "facts", "log", "metrics")


def _rows_of(transitions: list[Transition], at: dict[UUID, datetime]) -> list[Rows]:
    """The rows of these transitions beside their moves and events."""
    plans = [(transition.plan, at[transition.action.pk]) for transition in transitions if transition.plan]
    for plan, when in plans:
        plan.created_at = when
    lines = [(c, at[transition.action.pk]) for transition in transitions for c in transition.journal_entries]
    for line, when in lines:
        line.at = when
    images = [i for transition in transitions for i in transition.before_images]
    kept = [(q, at[transition.action.pk]) for transition in transitions for q in transition.quarantines]
    for quarantine, when in kept:
        quarantine.since = when
    requests = [_request_row(transition, at[transition.action.pk]) for transition in transitions if transition.request]
    return [
        Rows(Plan, PLAN_COLUMNS, [tuple(getattr(p, name) for name in PLAN_FIELDS) for p, _ in plans]),
        Rows(Request, tuple(REQUEST_COLUMNS), requests),
        Rows(JournalEntry, JOURNAL_COLUMNS, [tuple(getattr(c, n) for n in JOURNAL_COLUMNS) for c, _ in lines]),
        Rows(BeforeImage, IMAGE_COLUMNS, [(i.action_id, i.step, i.ciphertext) for i in images]),
        Rows(Quarantine, QUARANTINE_FIELDS, [tuple(getattr(q, n) for n in QUARANTINE_FIELDS) for q, _ in kept], True),
    ]


def _record_accuracy(transitions: list[Transition]) -> None:
    known = {
        transition.action.pk: transition.accuracy or {}
        for transition in transitions
        if transition.accuracy or ends_a_run(transition.action.state, transition.target)
    }
    if known:
        record_accuracy(known)


def _request_row(transition: Transition, at: datetime) -> Sequence[Any]:
    """A request opens with its action's move, on the database's clock, and ends when the action would expire."""
    assert transition.request is not None and transition.ttl_s is not None
    transition.request.opened_at, transition.request.expires_at = at, at + timedelta(seconds=transition.ttl_s)
    return request_row(transition.request)


def _update_snapshot(transition: Transition, row: UpdatedRow, head: ChainHead) -> None:
    transition.head, transition.at, transition.epoch = head, row.at, row.epoch
    transition.action.state, transition.action.seq = transition.target, row.seq
    transition.action.stop_requested_at, transition.action.expires_at = row.stop_requested_at, row.expires_at
    for name, value in transition.sets.items():
        setattr(transition.action, name, value)
    if transition.action.stop_requested_at is None:
        transition.action.stop_reason = ""
    if transition.plan:
        transition.action.plan = transition.plan
    if transition.release:
        transition.action.lease_id = None


def _events_of(transitions: list[Transition], at: datetime) -> tuple[Sequence[Rows], dict[UUID, ChainHead]]:
    known = {transition.action.pk: transition.head for transition in transitions if transition.head is not None}
    unknown = [transition.action.pk for transition in transitions if transition.head is None]
    if unknown:
        known.update(read_chain_heads(unknown))
    return build_rows([_entry(transition, e) for transition in transitions for e in transition.events()], known, at)


def _entry(transition: Transition, event: Note) -> NewEvent:
    action = transition.action
    return NewEvent(
        tenant=action.tenant_id,
        subject=action_subject(action),
        verb=event.verb,
        actor=transition.by,
        outcome=event.outcome,
        correlation_id=action.correlation_id,
        facts={**event.facts, "simulated": True} if action.simulated else event.facts,
        private=event.private,
        artifacts=event.artifacts,
    )


def action_subject(action: Action) -> Subject:
    return Subject("action", action.pk, action.title, f"/actions/{action.pk}/")


def _changed(transition: Transition, seq: int) -> Changed:
    leased = transition.action.lease_id is not None and not transition.release
    return Changed(
        transition.action.pk,
        transition.action.tenant_id,
        transition.action.environment_id,
        str(transition.target),
        seq,
        leased,
        transition.action.node,
    )


def next_seq(action_id: UUID) -> tuple[int, datetime]:
    """Take the next seq of an action for an event that a lower floor records on it. Locks the action's row."""
    row = bump_seq(action_id)
    change = Changed(action_id, row.tenant_id, row.environment_id, row.state, row.seq, row.leased)
    transaction.on_commit(lambda: committed.send(None, changes=[change]))
    return row.seq, row.at


register_sequencer("action", next_seq)

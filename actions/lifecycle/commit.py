"""
Commit transitions: the only code that writes `Action.state`.

A move is a guarded UPDATE over many actions at once, the rows that belong to it, and its events, in one transaction.
A transition whose guard did not match leaves nothing.
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


def commit(writes: Sequence[Transition]) -> list[Transition]:
    """
    Commit many transitions in one transaction; return those whose guard matched, with updated snapshots.

    Raises nothing for the others: their action moved on, or their lease was lost. Every transition needs a verb that
    its action's state allows, or at least an event: the guard counts events.
    """
    for w in writes:
        if not w.verb and not w.notes:
            raise ValueError("a transition without an event could be committed twice")
        if w.verb and w.action.state not in MOVES[w.verb].sources:
            raise ValueError(f"{w.verb} does not lead out of {w.action.state}")
    with transaction.atomic():
        for w in writes:
            w.undo_deferral()
        check_limits(writes)
        ours = acquire_locks(writes)
        rows = guarded_update([_guard(w) for w in writes])
        stuck = [w for w in writes if w.action.pk in rows]
        release_ended(stuck)
        release_refused([w for w in ours if w.action.pk not in rows])
        if not stuck:
            return []
        events, known = _events_of(stuck, next(iter(rows.values())).at)
        artifacts = artifact_rows([p for w in stuck for p in w.packs])
        for more in artifacts[1:]:
            insert_together([more])
        insert_together([*_rows_of(stuck, {pk: row.at for pk, row in rows.items()}), *artifacts[:1], *events])
        _record_accuracy(stuck)
        changes = [_changed(w, rows[w.action.pk].seq) for w in stuck]
        transaction.on_commit(lambda: committed.send(None, changes=changes))
    for w in stuck:  # after the commit: a failed one may be retried from the unchanged snapshots
        _update_snapshot(w, rows[w.action.pk], known[w.action.pk])
    return stuck


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
        writes = [Transition(a, verb, by=by, facts=facts, release=release, **more) for a in found.order_by("pk")]
        return [w.action for w in commit(writes)] if writes else []


def record_note(action: Action, entry: Note, *, by: str, **more: Any) -> bool:
    """Record an event on an action without moving it; False if it moved on meanwhile."""
    return bool(commit([Transition(action, by=by, notes=[entry], **more)]))


def _guard(w: Transition) -> dict[str, Any]:
    return {
        "id": w.action.pk,
        "source": str(w.action.state),
        "seq": w.action.seq,
        "target": str(w.target),
        "events": len(w.events()),
        "fenced": w.lease is not None,
        "lease": w.lease,
        "release": w.release,
        "stop": w.stop,
        "ttl_s": w.ttl_s,
        "plan": w.plan.pk if w.plan else None,
        "begins": w.begins,
        "admitted": w.admitted or not w.enters,
        **w.sets,
    }


PLAN_COLUMNS = tuple(str(f.column) for f in Plan._meta.concrete_fields)
PLAN_FIELDS = tuple(f.attname for f in Plan._meta.concrete_fields)
IMAGE_COLUMNS = ("action_id", "step", "ciphertext")
QUARANTINE_FIELDS = tuple(f.attname for f in Quarantine._meta.concrete_fields)
JOURNAL_COLUMNS = ("action_id", "plan_id", "step", "attempt", "kind", "lease", "at", "facts", "log", "metrics")


def _rows_of(writes: list[Transition], at: dict[UUID, datetime]) -> list[Rows]:
    """The rows of these transitions beside their moves and events."""
    plans = [(w.plan, at[w.action.pk]) for w in writes if w.plan]
    for plan, when in plans:
        plan.created_at = when
    lines = [(c, at[w.action.pk]) for w in writes for c in w.journal_entries]
    for line, when in lines:
        line.at = when
    images = [i for w in writes for i in w.before_images]
    kept = [(q, at[w.action.pk]) for w in writes for q in w.quarantines]
    for quarantine, when in kept:
        quarantine.since = when
    requests = [_request_row(w, at[w.action.pk]) for w in writes if w.request]
    return [
        Rows(Plan, PLAN_COLUMNS, [tuple(getattr(p, name) for name in PLAN_FIELDS) for p, _ in plans]),
        Rows(Request, tuple(REQUEST_COLUMNS), requests),
        Rows(JournalEntry, JOURNAL_COLUMNS, [tuple(getattr(c, n) for n in JOURNAL_COLUMNS) for c, _ in lines]),
        Rows(BeforeImage, IMAGE_COLUMNS, [(i.action_id, i.step, i.ciphertext) for i in images]),
        Rows(Quarantine, QUARANTINE_FIELDS, [tuple(getattr(q, n) for n in QUARANTINE_FIELDS) for q, _ in kept], True),
    ]


def _record_accuracy(writes: list[Transition]) -> None:
    known = {w.action.pk: w.accuracy or {} for w in writes if w.accuracy or ends_a_run(w.action.state, w.target)}
    if known:
        record_accuracy(known)


def _request_row(w: Transition, at: datetime) -> Sequence[Any]:
    """A request opens with its action's move, on the database's clock, and ends when the action would expire."""
    assert w.request is not None and w.ttl_s is not None
    w.request.opened_at, w.request.expires_at = at, at + timedelta(seconds=w.ttl_s)
    return request_row(w.request)


def _update_snapshot(w: Transition, row: UpdatedRow, head: ChainHead) -> None:
    w.head, w.at, w.epoch = head, row.at, row.epoch
    w.action.state, w.action.seq = w.target, row.seq
    w.action.stop_requested_at, w.action.expires_at = row.stop_requested_at, row.expires_at
    for name, value in w.sets.items():
        setattr(w.action, name, value)
    if w.action.stop_requested_at is None:
        w.action.stop_reason = ""
    if w.plan:
        w.action.plan = w.plan
    if w.release:
        w.action.lease_id = None


def _events_of(writes: list[Transition], at: datetime) -> tuple[Sequence[Rows], dict[UUID, ChainHead]]:
    known = {w.action.pk: w.head for w in writes if w.head is not None}
    unknown = [w.action.pk for w in writes if w.head is None]
    if unknown:
        known.update(read_chain_heads(unknown))
    return build_rows([_entry(w, e) for w in writes for e in w.events()], known, at)


def _entry(w: Transition, event: Note) -> NewEvent:
    action = w.action
    return NewEvent(
        tenant=action.tenant_id,
        subject=action_subject(action),
        verb=event.verb,
        actor=w.by,
        outcome=event.outcome,
        correlation_id=action.correlation_id,
        facts={**event.facts, "simulated": True} if action.simulated else event.facts,
        private=event.private,
        artifacts=event.artifacts,
    )


def action_subject(action: Action) -> Subject:
    return Subject("action", action.pk, action.title, f"/actions/{action.pk}/")


def _changed(w: Transition, seq: int) -> Changed:
    leased = w.action.lease_id is not None and not w.release
    return Changed(w.action.pk, w.action.tenant_id, w.action.environment_id, str(w.target), seq, leased, w.action.node)


def next_seq(action_id: UUID) -> tuple[int, datetime]:
    """Take the next seq of an action for an event that a lower floor records on it. Locks the action's row."""
    row = bump_seq(action_id)
    change = Changed(action_id, row.tenant_id, row.environment_id, row.state, row.seq, row.leased)
    transaction.on_commit(lambda: committed.send(None, changes=[change]))
    return row.seq, row.at


register_sequencer("action", next_seq)

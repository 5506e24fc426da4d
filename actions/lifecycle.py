"""
How an action moves: the table of moves, and the only code that writes `Action.state`.

A move is a guarded UPDATE over many actions at once, the rows that belong to it, and its events, in one transaction;
what did not match the guard was not there to be moved and leaves nothing. The chart in docs/state_machine.md is drawn
from MOVES.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.dispatch import Signal

from actions.admission import admit, claim, give_back, leave
from actions.guarded_update import Row, bump_seq, guarded_update
from actions.impact import as_told, ends_a_run, record_impacts
from actions.locks import Wanted
from actions.models import Action, BeforeImage, Checkpoint, Plan, Quarantine
from actions.scheduling.rules import RUNNING
from actions.states import ENDED, State
from approvals.models import Request
from approvals.requests.lifecycle import REQUEST_COLUMNS, request_row
from audit.database.statements import Rows, insert_together
from audit.log.artifacts import ArtifactRows, artifact_rows
from audit.log.events import ChainHead, NewEvent, Subject, build_rows, read_chain_heads, register_sequencer

S = State
INTENTS = (Checkpoint.Kind.INTENT, Checkpoint.Kind.UNDO_INTENT)


@dataclass(frozen=True)
class Move:
    sources: tuple[State, ...]
    target: State
    what: str


UNENDED = tuple(s for s in S if s not in ENDED)

MOVES: dict[str, Move] = {
    "preflight": Move((S.QUEUED,), S.PREFLIGHT, "a worker picks it up"),
    "deny": Move((S.PREFLIGHT,), S.DENIED, "a policy denies, or no matrix row matches"),
    "await_approval": Move((S.PREFLIGHT,), S.AWAITING_APPROVAL, "required approvals to fill, or a diff to accept"),
    "approve": Move((S.PREFLIGHT, S.AWAITING_APPROVAL), S.APPROVED, "every required approval filled, or none asked"),
    "reject": Move((S.AWAITING_APPROVAL,), S.REJECTED, "a person says no"),
    "expire": Move((S.AWAITING_APPROVAL, S.APPROVED), S.EXPIRED, "too late"),
    "cancel": Move((S.QUEUED, S.PREFLIGHT, S.AWAITING_APPROVAL, S.APPROVED), S.CANCELLED, "withdrawn before it began"),
    "reopen": Move(
        (S.APPROVED,), S.AWAITING_APPROVAL, "drift or a stricter verdict at start, or an approval is taken back"
    ),
    "start": Move((S.APPROVED,), S.IN_PROGRESS, "the plan still holds; first intent"),
    "verify": Move((S.IN_PROGRESS,), S.VERIFYING, "every step has its receipt"),
    "complete": Move((S.VERIFYING,), S.COMPLETED, "checks hold, evidence attached"),
    "roll_back": Move(
        (S.IN_PROGRESS, S.VERIFYING, S.HELD, S.FAILED), S.ROLLING_BACK, "failure, abort, risk spike, or a person undoes"
    ),
    "finish_rollback": Move((S.ROLLING_BACK,), S.ROLLED_BACK, "the state before is back"),
    "hold": Move(
        (S.APPROVED, S.IN_PROGRESS, S.VERIFYING, S.ROLLING_BACK),
        S.HELD,
        "in doubt, undo failed, risk spike, switched off, or back at a checkpoint",
    ),
    "resume": Move((S.HELD,), S.IN_PROGRESS, "a person says how to go on, or the switch is released"),
    "fail": Move(UNENDED, S.FAILED, "fatal error, or a person gives up"),
}


@dataclass
class Note:
    """A fact worth an event of its own that moves nothing: a receipt, a verdict, a lost lease."""

    verb: str
    facts: dict[str, Any] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    outcome: str = "ok"


@dataclass
class Write:
    """
    What becomes durable together for one action: at most one move, its events, and its rows.

    `action` is the snapshot it was decided on: state and seq are the guard. With `lease`, the write is fenced: it
    sticks only while that lease holds the action. `head` spares a read where the caller keeps the chain in memory.
    """

    action: Action
    verb: str = ""
    by: str = "system:execute"
    facts: dict[str, Any] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    outcome: str = "ok"
    notes: list[Note] = field(default_factory=list)
    sets: dict[str, Any] = field(default_factory=dict)
    ttl_s: int | None = None
    stop: bool = False
    release: bool = False
    lease: int | None = None
    head: ChainHead | None = None
    plan: Plan | None = None
    request: Request | None = None
    checkpoints: list[Checkpoint] = field(default_factory=list)
    before_images: list[BeforeImage] = field(default_factory=list)
    packs: list[ArtifactRows] = field(default_factory=list)
    quarantines: list[Quarantine] = field(default_factory=list)
    impact: dict[str, Any] | None = None
    """What the run came to, where this write knows (`actions.impact.measured`); part of its event's facts."""
    claims: Sequence[Wanted] = ()
    """What the action must have for itself from here on; unless it gets all, it waits its turn (`turn_back`)."""
    is_blocked: bool = False
    meant: tuple[Any, ...] | None = None
    """What a write was before it was turned back."""
    at: datetime | None = None
    epoch: int | None = None
    capped: bool | None = None
    """Whether a cap counts the action, as far as its worker knows; None: nobody has looked."""
    admitted: bool = False
    """Whether the caps were counted, and let it run."""

    def turn_back(self, facts: dict[str, Any]) -> None:
        """Make this the write of an action that has to wait: an event that says for what, and the worker's leave."""
        self.meant = self.notes, self.verb, self.sets, self.checkpoints, self.before_images, self.release
        self.notes = [Note("action.waiting", facts)]
        self.verb, self.sets, self.checkpoints, self.before_images = "", {}, [], []
        self.release = self.is_blocked = True

    def ask_again(self) -> None:
        """Undo `turn_back`, for a write that is offered anew after its transaction failed."""
        if self.meant is not None:
            self.notes, self.verb, self.sets, self.checkpoints, self.before_images, self.release = self.meant
            self.meant, self.is_blocked = None, False

    @property
    def enters(self) -> bool:
        """Whether it makes an action run that does not run now."""
        return self.target in RUNNING and self.action.state not in RUNNING

    @property
    def begins(self) -> bool:
        """Whether something begins with it, which the switch of an environment does not let."""
        return self.enters or any(line.kind in INTENTS for line in self.checkpoints)

    @property
    def target(self) -> str:
        return MOVES[self.verb].target if self.verb else self.action.state

    def events(self) -> list[Note]:
        if not self.verb:
            return self.notes
        facts = {"from": str(self.action.state), "to": str(self.target), **self.facts}
        if self.impact is not None:
            facts["impact"] = as_told(self.impact)
        return [*self.notes, Note(f"action.{self.verb}", facts, self.private, self.artifacts, self.outcome)]


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


def write(writes: Sequence[Write]) -> list[Write]:
    """
    Make many writes durable in one transaction; return those that stuck, their snapshots brought up to date.

    Raises nothing for the others: a guard that did not match means the action moved on, or the lease was lost.
    Every write needs a verb allowed in its action's state, or none but an event: that is what its guard counts.
    """
    for w in writes:
        if not w.verb and not w.notes:
            raise ValueError("a write without an event could be made twice")
        if w.verb and w.action.state not in MOVES[w.verb].sources:
            raise ValueError(f"{w.verb} does not lead out of {w.action.state}")
    with transaction.atomic():
        for w in writes:
            w.ask_again()
        admit(writes)
        ours = claim(writes)
        rows = guarded_update([_guard(w) for w in writes])
        stuck = [w for w in writes if w.action.pk in rows]
        leave(stuck)
        give_back([w for w in ours if w.action.pk not in rows])
        if not stuck:
            return []
        events, known = _events_of(stuck, next(iter(rows.values())).at)
        artifacts = artifact_rows([p for w in stuck for p in w.packs])
        for more in artifacts[1:]:
            insert_together([more])
        insert_together([*_rows_of(stuck, {pk: row.at for pk, row in rows.items()}), *artifacts[:1], *events])
        _keep_impacts(stuck)
        changes = [_changed(w, rows[w.action.pk].seq) for w in stuck]
        transaction.on_commit(lambda: committed.send(None, changes=changes))
    for w in stuck:  # not before the commit: one that fails may be tried again from the snapshots as they were
        _bring_up_to_date(w, rows[w.action.pk], known[w.action.pk])
    return stuck


def advance(action_ids: Iterable[UUID], verb: str, *, by: str, correlation_id: str = "", **more: Any) -> list[Action]:
    """
    Move many actions at once on a person's or the sweep's word; return those that moved.

    Locks the rows that are in a source state, then writes; a worker that holds one of them loses it, because the
    guard of its next write no longer matches. `more` are fields of `Write`. `correlation_id`, where given, is
    recorded in the facts beside the action's own.
    """
    facts = dict(more.pop("facts", {}))
    if correlation_id:
        facts["via"] = correlation_id
    release = more.pop("release", True)
    with transaction.atomic():
        found = Action.objects.select_for_update().filter(pk__in=list(action_ids), state__in=MOVES[verb].sources)
        writes = [Write(a, verb, by=by, facts=facts, release=release, **more) for a in found.order_by("pk")]
        return [w.action for w in write(writes)] if writes else []


def note(action: Action, entry: Note, *, by: str, **more: Any) -> bool:
    """Leave an event on an action without moving it; False if it moved on meanwhile."""
    return bool(write([Write(action, by=by, notes=[entry], **more)]))


def _guard(w: Write) -> dict[str, Any]:
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
CHECKPOINT_COLUMNS = ("action_id", "plan_id", "step", "attempt", "kind", "lease", "at", "facts", "log", "metrics")


def _rows_of(writes: list[Write], at: dict[UUID, datetime]) -> list[Rows]:
    """What these writes leave beside their moves and events."""
    plans = [(w.plan, at[w.action.pk]) for w in writes if w.plan]
    for plan, when in plans:
        plan.created_at = when
    lines = [(c, at[w.action.pk]) for w in writes for c in w.checkpoints]
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
        Rows(Checkpoint, CHECKPOINT_COLUMNS, [tuple(getattr(c, n) for n in CHECKPOINT_COLUMNS) for c, _ in lines]),
        Rows(BeforeImage, IMAGE_COLUMNS, [(i.action_id, i.step, i.ciphertext) for i in images]),
        Rows(Quarantine, QUARANTINE_FIELDS, [tuple(getattr(q, n) for n in QUARANTINE_FIELDS) for q, _ in kept], True),
    ]


def _keep_impacts(writes: list[Write]) -> None:
    known = {w.action.pk: w.impact or {} for w in writes if w.impact or ends_a_run(w.action.state, w.target)}
    if known:
        record_impacts(known)


def _request_row(w: Write, at: datetime) -> Sequence[Any]:
    """A request opens with its action's move, on the database's clock, and ends when the action would expire."""
    assert w.request is not None and w.ttl_s is not None
    w.request.opened_at, w.request.expires_at = at, at + timedelta(seconds=w.ttl_s)
    return request_row(w.request)


def _bring_up_to_date(w: Write, row: Row, head: ChainHead) -> None:
    w.head, w.at, w.epoch = head, row.at, row.epoch
    w.action.state, w.action.seq = w.target, row.seq
    w.action.stop_requested_at, w.action.expires_at = row.stop_requested_at, row.expires_at
    for name, value in w.sets.items():
        setattr(w.action, name, value)
    if w.action.stop_requested_at is None:
        w.action.stop_why = ""
    if w.plan:
        w.action.plan = w.plan
    if w.release:
        w.action.lease_id = None


def _events_of(writes: list[Write], at: datetime) -> tuple[Sequence[Rows], dict[UUID, ChainHead]]:
    known = {w.action.pk: w.head for w in writes if w.head is not None}
    unknown = [w.action.pk for w in writes if w.head is None]
    if unknown:
        known.update(read_chain_heads(unknown))
    return build_rows([_entry(w, e) for w in writes for e in w.events()], known, at)


def _entry(w: Write, event: Note) -> NewEvent:
    action = w.action
    return NewEvent(
        tenant=action.tenant_id,
        subject=subject_of(action),
        verb=event.verb,
        actor=w.by,
        outcome=event.outcome,
        correlation_id=action.correlation_id,
        facts={**event.facts, "simulated": True} if action.simulated else event.facts,
        private=event.private,
        artifacts=event.artifacts,
    )


def subject_of(action: Action) -> Subject:
    return Subject("action", action.pk, action.title, f"/actions/{action.pk}/")


def _changed(w: Write, seq: int) -> Changed:
    leased = w.action.lease_id is not None and not w.release
    return Changed(w.action.pk, w.action.tenant_id, w.action.environment_id, str(w.target), seq, leased, w.action.node)


def take_seq(action_id: UUID) -> tuple[int, datetime]:
    """Give the next seq of an action to an event that a lower floor records on it. Locks the action's row."""
    row = bump_seq(action_id)
    change = Changed(action_id, row.tenant_id, row.environment_id, row.state, row.seq, row.leased)
    transaction.on_commit(lambda: committed.send(None, changes=[change]))
    return row.seq, row.at


register_sequencer("action", take_seq)

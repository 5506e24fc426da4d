"""Append committed events to their tenants' trees, and sign heads. Events themselves are never changed.

One pass is one transaction over many tenants: it holds their tree rows (a lock that ends with its connection, so a
crash
frees it), checks that what it builds on is what was signed last, and writes leaves, tiles, tree heads and trees in one
statement each. A crash leaves either all of a pass or nothing of it.

An event's id says when it was made, not when it was committed. Everything up to the horizon is sealed, and nothing
there
can be committed any more; above it each event is looked up in the leaves. So an event that commits late is found
whenever
it comes, and no scan grows with the log. To move the horizon: an id that is visible was given out, so smaller ones that
are
not visible belong to transactions that hold their lock on the events' table now, or they will never come. When none of
those transactions is left, and nothing up to that id is unsealed, the id becomes the horizon. (SQLite has one writer:
what
is not visible does not exist.)
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Max, OuterRef, Subquery

from audit.database.clock import database_time
from audit.database.statements import Rows, insert_together, run_prepared
from audit.errors import Problem
from audit.models import Event
from audit.models.seals import Horizon, Leaf, SignedTreeHead, SigningKey, Tile, Tree
from audit.seals import keys
from audit.seals.tree import completed_tiles
from audit.verify import signatures
from audit.verify.merkle import Frontier, leaf_hash
from audit.verify.signatures import InvalidNote, digest_of_note

POLL_S = 0.02
HORIZON = "(SELECT COALESCE(max(horizon), 0) FROM audit_horizon)"
# A scalar subquery is looked up for each event; as a join it might be planned as a scan of every leaf there is.
UNSEALED = "(SELECT l.event_id FROM audit_leaf l WHERE l.event_id = e.id) IS NULL"
NOT_HALTED = "NOT EXISTS (SELECT 1 FROM audit_tree t WHERE t.tenant = e.tenant AND t.halted <> '')"
WORK = f"""
SELECT 'new', tenant FROM (
    SELECT e.tenant FROM audit_event e WHERE e.id > {HORIZON} AND {UNSEALED} AND {NOT_HALTED} ORDER BY e.id LIMIT %s
) AS found
UNION SELECT 'due', tenant FROM audit_tree WHERE halted = '' AND sealed_at < {{idle}}
UNION SELECT 'halted', tenant FROM audit_tree WHERE halted <> ''
UNION SELECT 'horizon', {{nobody}} WHERE EXISTS (SELECT 1 FROM audit_event e WHERE e.id > {HORIZON})
"""
WORK_OF = {
    "postgresql": WORK.format(idle="clock_timestamp() - %s * interval '1 second'", nobody="NULL::uuid"),
    "sqlite": WORK.format(idle="strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '-' || %s || ' seconds')", nobody="NULL"),
}
EVENTS = f"""
SELECT e.id, e.tenant, e.subject_id, e.seq, {{leaf}} FROM audit_event e
WHERE e.id > {{after}} AND {UNSEALED} AND {{whose}} ORDER BY e.id LIMIT %s
"""
LEAF = {"postgresql": r"sha256('\x00'::bytea || e.body)", "sqlite": "e.body"}
ADVANCE = f"""
UPDATE audit_horizon SET horizon = candidate, candidate = NULL, holders = ''
WHERE candidate = %s AND NOT EXISTS (
    SELECT 1 FROM audit_event e WHERE e.id > horizon AND e.id <= candidate AND {UNSEALED} AND {NOT_HALTED})
"""
HOLDERS = """
SELECT COALESCE(string_agg(DISTINCT virtualtransaction, ' '), '') FROM pg_locks
WHERE locktype = 'relation' AND relation = 'audit_event'::regclass AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND virtualtransaction <> (
        SELECT virtualtransaction FROM pg_locks WHERE locktype = 'virtualxid' AND pid = pg_backend_pid() LIMIT 1)
"""


@dataclass(frozen=True)
class SealingWork:
    """What a look found: tenants with new events, with a tree head that is due, halted; and if the horizon lags."""

    new: frozenset[UUID] = frozenset()
    due: frozenset[UUID] = frozenset()
    halted: frozenset[UUID] = frozenset()
    horizon: bool = False

    @property
    def tenants(self) -> frozenset[UUID]:
        return self.new | self.due | self.halted


def find_work(most: int, idle_s: float) -> SealingWork:
    """What there is to do: one statement, all that it costs when nothing happened, however many tenants there are."""
    found: dict[str, set[UUID]] = {"new": set(), "due": set(), "halted": set(), "horizon": set()}
    for kind, tenant in run_prepared(WORK_OF[connection.vendor], [most, idle_s]):
        found[kind].add(as_uuid(tenant) if tenant else UUID(int=0))
    new, due, halted = (frozenset(found[kind]) for kind in ("new", "due", "halted"))
    return SealingWork(new, due, halted, bool(found["horizon"]))


def read_unsealed(tenants: list[UUID], most: int, after: int | None = None) -> list[tuple[int, UUID, UUID, int, bytes]]:
    """The oldest unsealed events of these tenants: id, tenant, subject, seq, and body (its leaf hash on PostgreSQL).

    One statement. Looks above the horizon, or above `after`.
    """
    parameters: list[Any] = [tenants] if connection.vendor == "postgresql" else [t.hex for t in tenants]
    whose = "e.tenant = ANY(%s)" if connection.vendor == "postgresql" else f"e.tenant IN ({placeholders(len(tenants))})"
    beyond = HORIZON if after is None else str(int(after))
    statement = EVENTS.format(leaf=LEAF[connection.vendor], after=beyond, whose=whose)
    rows: list[tuple[Any, ...]] = run_prepared(statement, [*parameters, most])
    return [(r[0], as_uuid(r[1]), as_uuid(r[2]), r[3], bytes(r[4])) for r in rows]


def advance_horizon() -> bool:
    """Move the horizon if it can be moved, and name the next candidate; whether it moved. A few statements."""
    state = Horizon.objects.order_by("pk").first() or Horizon.objects.get_or_create(pk=1)[0]
    moved = False
    if state.candidate is not None and not _is_any_running(state.holders):
        with connection.cursor() as cursor:
            cursor.execute(ADVANCE, [state.candidate])
            moved = cursor.rowcount == 1
        if moved:
            state.horizon = state.candidate
    if state.candidate is None or moved:
        _name_candidate(state)
    return moved


def settled_event_id(within_s: float) -> int:
    """
    An id up to which every event that will ever be is visible by now: the newest there is, where those who may hold
    smaller ones end within this time, else the horizon. Not what the caller's own transaction has yet to record.
    """
    newest = Event.objects.aggregate(newest=Max("pk"))["newest"] or 0
    holders, until = _running_transactions(), time.monotonic() + within_s
    while holders and _is_any_running(holders):
        if time.monotonic() > until:
            return min(newest, Horizon.objects.aggregate(upto=Max("horizon"))["upto"] or 0)
        time.sleep(POLL_S)
    return newest


def _is_any_running(holders: str) -> bool:
    """Whether one of these transactions still runs. Locks are let go of after the commit has become visible."""
    return bool(set(holders.split()) & set(_running_transactions().split()))


def _name_candidate(state: Horizon) -> None:
    """First the newest visible id, then who may hold smaller ones: in the other order one could slip in between."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(max(id), 0) FROM audit_event")
        newest = cursor.fetchone()[0]
        if newest > state.horizon:
            values = {"candidate": newest, "holders": _running_transactions()}
            Horizon.objects.filter(pk=state.pk, candidate=None, horizon=state.horizon).update(**values)


def _running_transactions() -> str:
    if connection.vendor != "postgresql":
        return ""
    return str(run_prepared(HOLDERS, [])[0][0])


def placeholders(count: int) -> str:
    return ", ".join(["%s"] * count)


def as_uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(hex=value)


MAX_EVENTS = 5_000  # events in one transaction
MAX_TENANTS = 500
LEAVES = ("event_id", "tenant", "log_index", "subject_id", "seq", "hash")
NEW_TREE = ("tenant", "size", "frontier", "number", "halted", "verified_size", "broken")
GROWS = ["size", "frontier", "number", "sealed_at", "halted", "resume_from"]
TILES = ("tenant", "level", "n", "hashes", "root")
CHECKPOINTS = ("tenant", "number", "size", "root", "at", "key_id", "note")
STEPS = ("looked", "locked", "read", "leaves", "tiles", "checkpoints", "trees", "committed", "horizon")
"""Where a pass can be interrupted, in order."""
log = structlog.get_logger(__name__)


@dataclass
class GrowingTree:
    """A tree in hand: its row, its frontier, the note it was last signed with, its key, and what is to be added."""

    row: Tree
    frontier: Frontier
    last: str
    key: keys.SigningKey
    leaves: list[tuple[int, UUID, int, bytes]] = field(default_factory=list)
    """Event id, subject, seq, leaf hash."""


@dataclass(frozen=True)
class SealResult:
    """What one pass did. `is_more`: it was full, so there may be more at once."""

    events: int = 0
    heads: int = 0
    is_more: bool = False


def failpoint(step: str) -> None:
    """Called when a pass reaches one of STEPS. Tests interrupt it here."""


def seal_all(until: Callable[[], bool] = lambda: False) -> SealResult:
    """Seal pass after pass until nothing is left, or `until` says to stop. Returns the sum."""
    events = heads = 0
    while True:
        done = seal()
        events, heads = events + done.events, heads + done.heads
        if not done.is_more or until():
            return SealResult(events, heads, done.is_more)


def seal() -> SealResult:
    """One pass: one statement when there is nothing to do. Tenants that another sealer holds are left to it."""
    work = find_work(MAX_EVENTS, settings.INTERLOCK.seal_idle_s)
    failpoint("looked")
    done = _seal_tenants(sorted(work.tenants)[:MAX_TENANTS]) if work.tenants else SealResult()
    if work.horizon:
        advance_horizon()
        failpoint("horizon")
    return SealResult(done.events, done.heads, done.is_more or len(work.tenants) > MAX_TENANTS)


def _seal_tenants(tenants: list[UUID]) -> SealResult:
    """Seal these together; if one of them has entries that its tree knows nothing of, each alone, and halt that one."""
    try:
        return _seal_together(tenants)
    except IntegrityError:
        if len(tenants) > 1:
            done = [_seal_tenants([tenant]) for tenant in tenants]
            return SealResult(sum(d.events for d in done), sum(d.heads for d in done), any(d.is_more for d in done))
    with transaction.atomic():
        for row, _ in _lock_trees(tenants).values():
            _halt(row, "entries are stored that are not in the tree")
    return SealResult()


def _seal_together(tenants: list[UUID]) -> SealResult:
    with transaction.atomic():
        trees = _lock_trees(tenants)
        failpoint("locked")
        rings = keys.key_rows(trees)
        sound = {t: growing for t, (row, note) in trees.items() if (growing := _check_tree(row, note, rings[t]))}
        events = _read_unsealed(sound) if sound else 0
        failpoint("read")
        heads = _write_growth(sound) if sound else 0
    failpoint("committed")
    return SealResult(events, heads, events >= MAX_EVENTS)


def _lock_trees(tenants: list[UUID]) -> dict[UUID, tuple[Tree, str]]:
    """The trees of these tenants that nobody else holds, each with its last signed note, and held until commit.

    The notes are read after the lock is held: read together, they could be older than the trees.
    """
    fresh = [(tenant, 0, b"", 0, "", 0, "") for tenant in tenants]
    insert_together([Rows(Tree, NEW_TREE, fresh, ignore_existing=True)])
    rows = Tree.objects.filter(tenant__in=tenants).order_by("tenant")
    if connection.features.has_select_for_update:
        rows = rows.select_for_update(skip_locked=True)
    held = {row.tenant: row for row in rows}
    last = SignedTreeHead.objects.filter(tenant=OuterRef("tenant")).order_by("-number").values("note")[:1]
    notes_of = Tree.objects.filter(tenant__in=held).annotate(note=Subquery(last)).values_list("tenant", "note")
    return {tenant: (held[tenant], note or "") for tenant, note in notes_of}


def _check_tree(row: Tree, note: str, ring: Sequence[SigningKey]) -> GrowingTree | None:
    """The tree, if it is what was signed last; otherwise halt it and return None."""
    try:
        frontier = Frontier.unpacked(row.size, bytes(row.frontier))
        if note or row.number or row.size:
            head = keys.verify_head(note, keys.verifiers(row.tenant, ring))
            if (head.size, head.root, head.extension("number")) != (row.size, frontier.root(), str(row.number)):
                raise InvalidNote("the stored tree is not the one that was signed last")
        key = keys.current_key(row.tenant, ring)
    except (ValueError, Problem) as doubt:
        _halt(row, str(doubt))
        return None
    return GrowingTree(row, frontier, note, key)


def _halt(row: Tree, why: str) -> None:
    if row.halted != why:
        log.error("sealing_halted", tenant=str(row.tenant), why=why)
    if row.resume_from is None:
        state = Horizon.objects.order_by("pk").first()
        row.resume_from = state.horizon if state else 0
    Tree.objects.filter(pk=row.pk).update(halted=why, resume_from=row.resume_from)


def _read_unsealed(sound: dict[UUID, GrowingTree]) -> int:
    """Hand each tree its oldest unsealed events; return how many. What was halted also looks below the horizon."""
    behind = [t for t, growing in sound.items() if growing.row.resume_from is not None]
    usual = [t for t in sound if t not in behind]
    rows = read_unsealed(usual, MAX_EVENTS) if usual else []
    for tenant in behind:
        caught = read_unsealed([tenant], MAX_EVENTS, after=sound[tenant].row.resume_from)
        rows += caught
        if len(caught) < MAX_EVENTS:
            sound[tenant].row.resume_from, sound[tenant].row.halted = None, ""
    is_hashed = connection.vendor == "postgresql"
    for event_id, tenant, subject_id, seq, body in rows:
        sound[tenant].leaves.append((event_id, subject_id, seq, body if is_hashed else leaf_hash(body)))
    return len(rows)


def _write_growth(sound: dict[UUID, GrowingTree]) -> int:
    """Write what the trees grew by, and sign; return how many heads."""
    now = database_time()
    growing = [g for g in sound.values() if g.leaves or _is_due(g.row, now)]
    insert_together([Rows(Leaf, LEAVES, [row for g in growing for row in _leaf_rows(g)])])
    failpoint("leaves")
    insert_together([Rows(Tile, TILES, completed_tiles({g.row.tenant: (g.row.size, g.leaves) for g in growing}))])
    failpoint("tiles")
    insert_together([Rows(SignedTreeHead, CHECKPOINTS, [_sign_growth(g, now) for g in growing])])
    failpoint("checkpoints")
    Tree.objects.bulk_update([g.row for g in sound.values()], GROWS)
    failpoint("trees")
    return len(growing)


def _is_due(row: Tree, now: datetime) -> bool:
    """Silence is signed too: a head a while after the one before says that nothing happened in between."""
    return row.sealed_at is not None and (now - row.sealed_at).total_seconds() >= settings.INTERLOCK.seal_idle_s


def _leaf_rows(growing: GrowingTree) -> Iterator[tuple[int, UUID, int, UUID, int, bytes]]:
    for log_index, (event_id, subject_id, seq, digest) in enumerate(growing.leaves, growing.row.size):
        yield event_id, growing.row.tenant, log_index, subject_id, seq, digest


def _sign_growth(growing: GrowingTree, now: datetime) -> tuple[object, ...]:
    """Append the leaves, sign, and return the head's row. Changes the tree's row in memory."""
    row, frontier = growing.row, growing.frontier
    frontier.extend(leaf[-1] for leaf in growing.leaves)
    row.size, row.frontier, row.number, row.sealed_at = frontier.size, frontier.packed(), row.number + 1, now
    more = [f"number {row.number}", f"at {keys.format_time(now)}"]
    if growing.last:
        more.append(f"previous {digest_of_note(growing.last)}")
    head = signatures.TreeHead(keys.origin_of(row.tenant), frontier.size, frontier.root(), tuple(more))
    return (
        row.tenant,
        row.number,
        row.size,
        head.root,
        now,
        growing.key.key_id,
        growing.key.sign_note(head.text()),
    )

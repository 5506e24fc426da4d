"""Which committed events are not in a log yet. An id says when an event was made, not when it was committed.

Everything up to the horizon is sealed, and nothing there can be committed any more; above it each event is looked up in
the leaves. So an event that commits late is found whenever it comes, and no scan grows with the log. The horizon is
moved like this: an id that is visible was given out, so smaller ones that are not visible belong to transactions that
hold their lock on the events' table now, or they will never come. When none of those transactions is left, and nothing
up to that id is unsealed, the id becomes the horizon. (SQLite has one writer: what is not visible does not exist.)
"""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Max

from audit.database.statements import run_prepared
from audit.models import Event
from audit.models.seals import Horizon

POLL_S = 0.02
HORIZON = "(SELECT COALESCE(max(horizon), 0) FROM audit_horizon)"
# A scalar subquery is looked up for each event; as a join it might be planned as a walk through every leaf there is.
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
    """What a look found: tenants with new events, with a checkpoint that is due, halted; and if the horizon lags."""

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

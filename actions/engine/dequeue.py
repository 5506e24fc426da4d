"""
Taking actions into a worker's hands: one statement, no two workers ever the same action, every tenant its share.

The statement looks at the first few of each tenant's queue, not at all that waits, and takes one of each tenant's, then
a second of each, until the worker's hands are full. Who cannot start now is passed over: before its time, behind
somebody at a resource, in an environment that is held, or where a cap is reached. Of those that a cap still lets start,
it takes no more than that; the cap itself is judged when they start (`actions.controls.limits`).
"""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection

from actions.controls.sql import FREE_LIMITS, IS_FIRST_AT_RESOURCES, IS_NOT_FROZEN, LIMIT_COVERS, PASSES_BREAKER
from actions.controls.worker_routing import ANY_SCOPE, WorkerScope
from actions.lifecycle.guarded_update import as_time, as_uuid
from actions.models import Action
from actions.models.states import TO_DECIDE, TO_EXECUTE
from audit.database.statements import run_prepared

STATES = {"decide": TO_DECIDE, "execute": TO_EXECUTE}
NOW = {"postgresql": "statement_timestamp()", "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')"}


@dataclass(frozen=True)
class Dequeued:
    """What a claim came to; `at` is the database's time. `more`: it was not all that could be claimed just now."""

    ids: list[UUID]
    at: datetime | None = None
    more: bool = False


def dequeue(queue: str, lease: int, limit: int, scope: WorkerScope = ANY_SCOPE) -> Dequeued:
    """
    Put up to `limit` actions that wait for this queue under a lease. One statement; one more for as long as caps keep
    it from taking all that they let start.

    Takes row locks with SKIP LOCKED, so claims never wait for one another. A lease that has ended claims nothing. An
    approval whose time is up is left to the sweep, however late that is.
    """
    found: list[UUID] = []
    at = None
    while len(found) < limit:
        rows = run_prepared(
            _statement(connection.vendor, queue, bool(scope.serves)), _values(scope, lease, limit - len(found))
        )
        if not rows:
            break
        found += [as_uuid(r[0]) for r in rows]
        at = as_time(rows[0][1])
        if not rows[0][2]:
            break
    return Dequeued(found, at, more=len(found) == limit)


def has_waiting(queue: str, scope: WorkerScope = ANY_SCOPE) -> bool:
    """Whether something in this queue could be claimed now. One statement."""
    found = run_prepared(_question(connection.vendor, queue, bool(scope.serves)), _which(scope) * 3)
    return bool(found[0][0])


def release(action_ids: list[UUID], lease: int) -> None:
    """Let go of actions that a worker cannot carry on just now."""
    Action.objects.filter(pk__in=action_ids, lease_id=lease).update(lease=None)


def _which(scope: WorkerScope) -> list[Any]:
    if not scope.serves:
        return [scope.node]
    is_postgres = connection.vendor == "postgresql"
    return [scope.node, list(scope.serves) if is_postgres else json.dumps(scope.serves)]


def _values(scope: WorkerScope, lease: int, room: int) -> list[Any]:
    return [*_which(scope) * 3, 2 * room, 2 * room, lease, room, lease]


def _listed(queue: str) -> str:
    return ",".join(f"'{state}'" for state in STATES[queue])


def _waiting(vendor: str, queue: str, is_limited: bool) -> str:
    """True of `a` if it is in this queue and of this scope: what the index on turns knows."""
    among = "= ANY(%s)" if vendor == "postgresql" else "IN (SELECT value FROM json_each(%s))"
    place = f"""AND a.environment_id IN (SELECT e.id FROM tenants_environment e
            JOIN tenants_tenant o ON o.id = e.tenant_id WHERE o.slug || '/' || e.slug {among})"""
    return f"a.state IN ({_listed(queue)}) AND a.lease_id IS NULL AND a.node = %s {place if is_limited else ''}"


def _startable(vendor: str, queue: str) -> str:
    """True of `a` if nothing keeps it from being taken up now. Needs `caps`."""
    if queue == "decide":
        return "TRUE"
    now = NOW[vendor]
    return f"""(a.state <> 'approved' OR ((a.not_before IS NULL OR a.not_before <= {now})
            AND (a.expires_at IS NULL OR a.expires_at > {now})
            AND {IS_NOT_FROZEN}
            AND {PASSES_BREAKER}
            AND NOT EXISTS (SELECT 1 FROM caps c WHERE c.free <= 0 AND {LIMIT_COVERS})))
        AND (a.wake_at IS NULL OR a.wake_at <= {now})
        AND {IS_FIRST_AT_RESOURCES}"""


def _firsts(vendor: str, queue: str, is_limited: bool, most: str) -> str:
    """CTEs `owners`, `caps`, `firsts`: the first `most` of each tenant's queue that could be taken up now."""
    waiting = _waiting(vendor, queue, is_limited)
    columns = "a.id, a.tenant_id, a.environment_id, a.type, a.state, a.turn_at"
    of_one = f"""FROM actions_action a
            WHERE {waiting} AND a.tenant_id = owners.id AND {_startable(vendor, queue)}
            ORDER BY a.turn_at, a.id LIMIT {most}"""
    if vendor == "postgresql":
        each = f"SELECT f.* FROM owners CROSS JOIN LATERAL (SELECT {columns} {of_one}) f WHERE owners.id IS NOT NULL"
    else:
        each = f"SELECT {columns} FROM owners CROSS JOIN actions_action a ON a.id IN (SELECT a.id {of_one})"
    return f"""owners(id) AS (
            SELECT first.tenant_id FROM (
                SELECT a.tenant_id FROM actions_action a WHERE {waiting} ORDER BY a.tenant_id LIMIT 1) first
            UNION ALL
            SELECT (SELECT a.tenant_id FROM actions_action a WHERE {waiting} AND a.tenant_id > owners.id
                    ORDER BY a.tenant_id LIMIT 1)
            FROM owners WHERE owners.id IS NOT NULL),
        caps AS ({FREE_LIMITS}),
        firsts AS ({each})"""


@cache
def _statement(vendor: str, queue: str, is_limited: bool) -> str:
    counted = f""", counted AS (
            SELECT a.id, c.free, row_number() OVER (PARTITION BY c.id ORDER BY a.turn_at, a.id) AS n
            FROM firsts a JOIN caps c ON {LIMIT_COVERS} WHERE a.state = 'approved')"""
    fits = "WHERE NOT EXISTS (SELECT 1 FROM counted n WHERE n.id = t.id AND n.n > n.free)"
    starts = queue == "execute"
    picked = _LOCKED if vendor == "postgresql" else _PICKED
    return f"""
    WITH RECURSIVE {_firsts(vendor, queue, is_limited, "%s")},
        turns AS (SELECT f.*, row_number() OVER (PARTITION BY f.tenant_id ORDER BY f.turn_at, f.id) AS turn
            FROM firsts f){counted if starts else ""},
        picked AS (SELECT t.* FROM turns t {fits if starts else ""} ORDER BY t.turn, t.turn_at, t.id LIMIT %s)
    UPDATE actions_action SET lease_id = %s WHERE {picked.format(states=_listed(queue))}
    AND EXISTS (SELECT 1 FROM actions_lease l WHERE l.id = %s AND l.ended_at IS NULL)
    RETURNING id, {NOW[vendor]}, {"EXISTS (SELECT 1 FROM actions_concurrencylimit)" if starts else "1 = 0"}"""


_IN_TURN = "(SELECT array_agg(p.id ORDER BY p.turn, p.turn_at, p.id) FROM picked p)::uuid[]"
_LOCKED = f"""id = ANY(ARRAY(
        SELECT a.id FROM actions_action a
        WHERE a.id = ANY({_IN_TURN}) AND a.lease_id IS NULL AND a.state IN ({{states}})
        ORDER BY array_position({_IN_TURN}, a.id) LIMIT %s FOR UPDATE SKIP LOCKED))"""
"""Arrays, because the planner takes a few ids for granted then; what it thinks of joins with `picked` varies."""
_PICKED = """id IN (
        SELECT p.id FROM picked p WHERE p.state IN ({states}) ORDER BY p.turn, p.turn_at, p.id LIMIT %s)"""


@cache
def _question(vendor: str, queue: str, is_limited: bool) -> str:
    return f"WITH RECURSIVE {_firsts(vendor, queue, is_limited, '1')} SELECT EXISTS (SELECT 1 FROM firsts)"

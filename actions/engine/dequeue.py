"""
Dequeue actions under a worker's lease: one statement, no action for two workers, a fair share for every tenant.

The statement reads the first few actions of each tenant's queue and takes them in turn, one per tenant, until the batch
is full. It skips actions that cannot start now: before their time, behind another at a resource, in a frozen
environment, or over a concurrency limit. It takes no more than a limit still admits; the limit itself is checked at the
start (`actions.controls.limits`). Then their contexts are loaded.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast
from uuid import UUID

from django.db import connection
from django.db.models import BigIntegerField, Exists, OuterRef, Q, Subquery, TextField
from django.db.models.expressions import RawSQL

from actions.controls.limits import is_limited
from actions.controls.quarantine import quarantines_in
from actions.controls.sql import FREE_LIMITS, IS_FIRST_AT_RESOURCES, IS_NOT_FROZEN, LIMIT_COVERS, PASSES_BREAKER
from actions.controls.worker_queues import ANY_SCOPE, WorkerScope
from actions.lifecycle.context import ActionContext, load_dependency_edges, target_of
from actions.lifecycle.guarded_update import as_time, as_uuid
from actions.lifecycle.journal import Journal
from actions.lifecycle.prediction_accuracy import parse_past_runs, past_runs_sql
from actions.models import Action, CircuitBreaker, JournalEntry, Quarantine, ResourceLock
from actions.models.states import TO_DECIDE, TO_EXECUTE
from actions.run.transcript import lines_of_earlier_workers
from actions.types.protocol import Executor
from actions.types.registry import get_executor
from approvals.policies.active_policies import active_policies_for, epoch_sql
from approvals.policies.matrix import matrix_for
from approvals.policies.weights import weights_for, weights_of
from audit.database.statements import run_prepared
from audit.errors import Problem
from audit.log.events import ChainHead
from audit.models import Event
from tenants.models import Resource

STATES = {"decide": TO_DECIDE, "execute": TO_EXECUTE}
NOW = {"postgresql": "statement_timestamp()", "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')"}


@dataclass(frozen=True)
class Dequeued:
    """The result of a dequeue; `at` is the database's time. `more`: there may be more to take now."""

    ids: list[UUID]
    at: datetime | None = None
    more: bool = False


def dequeue(queue: str, lease: int, limit: int, scope: WorkerScope = ANY_SCOPE) -> Dequeued:
    """
    Put up to `limit` actions that wait for this queue under a lease. One statement; another one for as long as
    concurrency limits made it take fewer than they admit.

    Takes row locks with SKIP LOCKED, so workers never wait for one another. An ended lease takes nothing. Approvals
    past their time are left to the sweep.
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
    """Whether an action in this queue could be taken now. One statement."""
    found = run_prepared(_question(connection.vendor, queue, bool(scope.serves)), _which(scope) * 3)
    return bool(found[0][0])


def release(action_ids: list[UUID], lease: int) -> None:
    """Release actions that a worker cannot run now."""
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
    """SQL: `a` is in this queue and of this scope. Served by the index on `turn_at`."""
    among = "= ANY(%s)" if vendor == "postgresql" else "IN (SELECT value FROM json_each(%s))"
    place = f"""AND a.environment_id IN (SELECT e.id FROM tenants_environment e
            JOIN tenants_tenant o ON o.id = e.tenant_id WHERE o.slug || '/' || e.slug {among})"""
    return f"a.state IN ({_listed(queue)}) AND a.lease_id IS NULL AND a.node = %s {place if is_limited else ''}"


def _startable(vendor: str, queue: str) -> str:
    """SQL: nothing keeps `a` from being taken now. Needs the CTE `limits`."""
    if queue == "decide":
        return "TRUE"
    now = NOW[vendor]
    return f"""(a.state <> 'approved' OR ((a.not_before IS NULL OR a.not_before <= {now})
            AND (a.expires_at IS NULL OR a.expires_at > {now})
            AND {IS_NOT_FROZEN}
            AND {PASSES_BREAKER}
            AND NOT EXISTS (SELECT 1 FROM limits c WHERE c.free <= 0 AND {LIMIT_COVERS})))
        AND (a.wake_at IS NULL OR a.wake_at <= {now})
        AND {IS_FIRST_AT_RESOURCES}"""


def _heads(vendor: str, queue: str, is_limited: bool, most: str) -> str:
    """CTEs `tenants`, `limits`, `heads`: the first `most` actions of each tenant's queue that could be taken now."""
    waiting = _waiting(vendor, queue, is_limited)
    columns = "a.id, a.tenant_id, a.environment_id, a.type, a.state, a.turn_at"
    of_one = f"""FROM actions_action a
            WHERE {waiting} AND a.tenant_id = tenants.id AND {_startable(vendor, queue)}
            ORDER BY a.turn_at, a.id LIMIT {most}"""
    if vendor == "postgresql":
        each = f"SELECT f.* FROM tenants CROSS JOIN LATERAL (SELECT {columns} {of_one}) f WHERE tenants.id IS NOT NULL"
    else:
        each = f"SELECT {columns} FROM tenants CROSS JOIN actions_action a ON a.id IN (SELECT a.id {of_one})"
    return f"""tenants(id) AS (
            SELECT first.tenant_id FROM (
                SELECT a.tenant_id FROM actions_action a WHERE {waiting} ORDER BY a.tenant_id LIMIT 1) first
            UNION ALL
            SELECT (SELECT a.tenant_id FROM actions_action a WHERE {waiting} AND a.tenant_id > tenants.id
                    ORDER BY a.tenant_id LIMIT 1)
            FROM tenants WHERE tenants.id IS NOT NULL),
        limits AS ({FREE_LIMITS}),
        heads AS ({each})"""


@cache
def _statement(vendor: str, queue: str, is_limited: bool) -> str:
    counted = f""", counted AS (
            SELECT a.id, c.free, row_number() OVER (PARTITION BY c.id ORDER BY a.turn_at, a.id) AS n
            FROM heads a JOIN limits c ON {LIMIT_COVERS} WHERE a.state = 'approved')"""
    fits = "WHERE NOT EXISTS (SELECT 1 FROM counted n WHERE n.id = t.id AND n.n > n.free)"
    starts = queue == "execute"
    picked = _LOCKED if vendor == "postgresql" else _PICKED
    return f"""
    WITH RECURSIVE {_heads(vendor, queue, is_limited, "%s")},
        turns AS (SELECT f.*, row_number() OVER (PARTITION BY f.tenant_id ORDER BY f.turn_at, f.id) AS turn
            FROM heads f){counted if starts else ""},
        picked AS (SELECT t.* FROM turns t {fits if starts else ""} ORDER BY t.turn, t.turn_at, t.id LIMIT %s)
    UPDATE actions_action SET lease_id = %s WHERE {picked.format(states=_listed(queue))}
    AND EXISTS (SELECT 1 FROM actions_lease l WHERE l.id = %s AND l.ended_at IS NULL)
    RETURNING id, {NOW[vendor]}, {"EXISTS (SELECT 1 FROM actions_concurrencylimit)" if starts else "1 = 0"}"""


_IN_TURN = "(SELECT array_agg(p.id ORDER BY p.turn, p.turn_at, p.id) FROM picked p)::uuid[]"
_LOCKED = f"""id = ANY(ARRAY(
        SELECT a.id FROM actions_action a
        WHERE a.id = ANY({_IN_TURN}) AND a.lease_id IS NULL AND a.state IN ({{states}})
        ORDER BY array_position({_IN_TURN}, a.id) LIMIT %s FOR UPDATE SKIP LOCKED))"""
"""Arrays, because the planner then expects few ids; its estimates for joins with `picked` vary."""
_PICKED = """id IN (
        SELECT p.id FROM picked p WHERE p.state IN ({states}) ORDER BY p.turn, p.turn_at, p.id LIMIT %s)"""


@cache
def _question(vendor: str, queue: str, is_limited: bool) -> str:
    return f"WITH RECURSIVE {_heads(vendor, queue, is_limited, '1')} SELECT EXISTS (SELECT 1 FROM heads)"


# Load the contexts of dequeued actions: a fixed number of queries per batch.


TROUBLED = ~Q(state=CircuitBreaker.State.CLOSED) | Q(failures__gt=0)
"""Circuit breakers that count failures."""


def load_contexts(action_ids: list[UUID], lease: int, at: datetime | None = None) -> list[ActionContext]:
    """
    Load the contexts of dequeued actions: six queries at most, for any number of actions.

    One more where a resource is quarantined, and one where an earlier worker left attempts open.
    """
    actions = _load_actions(action_ids)
    if not actions:
        return []
    matrix = matrix_for({a.tenant_id for a in actions})
    rules = active_policies_for({a.tenant_id for a in actions})
    resources: dict[UUID, dict[tuple[str, str], Resource]] = {}
    for r in Resource.objects.filter(environment__in={a.environment_id for a in actions}):
        resources.setdefault(r.environment_id, {})[r.kind, r.name] = r
    edges = load_dependency_edges({a.tenant_id for a in actions}) if resources else {}
    careful = {a.environment_id for a in actions if a.has_quarantine}
    quarantines = quarantines_in(careful) if careful else {}
    found = {a.type: find_executor(a.type) for a in actions}
    journals = load_journals(actions)
    left_open = [a.pk for a in actions if journals[a.pk].open_steps()]
    earlier = lines_of_earlier_workers(left_open) if left_open else {}
    weights = {a.pk: weights_of(a.environment.tenant) for a in actions}
    return [
        ActionContext(
            action=a,
            executor=found[a.type][0],
            fault=found[a.type][1],
            target=target_of(a),
            head=ChainHead(a.seq, bytes(a.head)),
            lease=lease,
            matrix=matrix.get(a.environment_id, {}),
            resources=resources.get(a.environment_id, {}),
            edges=edges,
            past=parse_past_runs(a.past),
            weights=weights[a.pk],
            rules=rules.get(a.tenant_id, []),
            epoch=a.epoch,
            now=at or datetime.now(UTC),
            facts=with_current_rules(a.plan.facts if a.plan else {}, matrix.get(a.environment_id, {}), weights[a.pk]),
            journal=journals[a.pk],
            has_locks=a.has_locks,
            is_limited=a.is_limited,
            has_failures=a.has_failures,
            quarantines=quarantines.get(a.environment_id, {}),
            opened_earlier=journals[a.pk].open_steps(),
            earlier=earlier.get(a.pk, {}),
        )
        for a in actions
    ]


def load_journals(actions: list[Any]) -> dict[UUID, Journal]:
    """The step journals of actions, by id. One query; none where no action has started."""
    begun = [a.pk for a in actions if a.started_at]
    lines: dict[UUID, list[JournalEntry]] = {}
    for line in JournalEntry.objects.filter(action__in=begun).order_by("id") if begun else ():
        lines.setdefault(line.action_id, []).append(line)
    return {a.pk: Journal.of(lines.get(a.pk, []), a.simulated) for a in actions}


def _load_actions(action_ids: list[UUID]) -> list[Any]:
    """The actions, annotated in one query with the policy epoch, history, resource locks and the like."""
    epoch = RawSQL(epoch_sql("actions_action.tenant_id"), [], output_field=BigIntegerField())
    last = Event.objects.filter(subject_id=OuterRef("pk"), seq=OuterRef("seq")).values("hash")[:1]
    past = RawSQL(past_runs_sql("actions_action"), [], output_field=TextField())
    locks = Exists(ResourceLock.objects.filter(action=OuterRef("pk"), held=True))
    in_quarantine = Exists(Quarantine.objects.filter(environment=OuterRef("environment"), cleared_at=None))
    troubled = Exists(CircuitBreaker.objects.filter(TROUBLED, key=OuterRef("breaker_key")))
    joined = Action.objects.annotate(
        has_failures=troubled,
        epoch=epoch,
        past=past,
        head=Subquery(last),
        has_locks=locks,
        has_quarantine=in_quarantine,
        is_limited=is_limited(),
    ).select_related("environment__tenant__blast_weights", "requester__owner", "plan", "undo_of__plan")
    return list(joined.filter(pk__in=action_ids).order_by("-priority", "id"))


def find_executor(name: str) -> tuple[Executor, str]:
    """The executor of a type, or the fault; check the fault first."""
    try:
        return get_executor(name), ""
    except Problem as problem:
        return cast(Executor, None), problem.detail


def reload_rules(contexts: list[ActionContext]) -> None:
    """Reload policies, matrix and weights of these contexts: three queries, only after a change of policies."""
    tenants = {c.action.tenant_id for c in contexts}
    rules, matrix, weights = active_policies_for(tenants), matrix_for(tenants), weights_for(tenants)
    for c in contexts:
        c.rules = rules.get(c.action.tenant_id, [])
        c.matrix = matrix.get(c.action.environment_id, {})
        c.weights = weights.get(c.action.tenant_id, {})
        c.facts = with_current_rules(c.facts, c.matrix, c.weights)


def with_current_rules(facts: dict[str, Any], matrix: dict[str, Any], weights: dict[str, int]) -> dict[str, Any]:
    """The facts of a plan with the current matrix and weights; empty if there were none."""
    return {**facts, "matrix": matrix, "weights": weights} if facts else {}

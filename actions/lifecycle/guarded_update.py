"""
The UPDATE of the lifecycle, for PostgreSQL and SQLite: many actions, each guarded by state, seq and lease.

Rows that do not match their guard stay unchanged and are not returned. Times come from the database.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils.dateparse import parse_datetime

from actions.controls.sql import IS_NOT_FROZEN, IS_UNLIMITED
from approvals.policies.active_policies import epoch_sql
from audit.database.statements import run_prepared

# What a guard may carry, with its PostgreSQL type; the names after "admitted" are columns of the same name.
CARRIED = {
    "id": "uuid",
    "source": "text",
    "seq": "integer",
    "target": "text",
    "events": "integer",
    "fenced": "boolean",
    "lease": "bigint",
    "release": "boolean",
    "stop": "boolean",
    "ttl_s": "integer",
    "plan": "uuid",
    "begins": "boolean",
    "admitted": "boolean",
    "requires_approval": "boolean",
    "blast_score": "integer",
    "tier": "text",
    "steps_total": "integer",
    "steps_done": "integer",
    "replans": "integer",
    "rollback_reference": "text",
    "error": "jsonb",
    "result": "jsonb",
    "rollback_to": "text",
    "fallback_due": "boolean",
    "held_reason": "text",
    "stop_reason": "text",
    "wake_s": "integer",
}
KEPT_UNLESS_CARRIED = [name for name in list(CARRIED)[13:] if name not in ("held_reason", "stop_reason", "wake_s")]
INCIDENT_STATES_SQL = "('failed','held','rolled_back')"
"""States that may open an incident: recorded in the move itself, so that none is missed."""
ENDED_SQL = "('denied','rejected','expired','cancelled','completed','rolled_back','failed')"

_POSTGRES_ROWS = "jsonb_to_recordset(%s::jsonb) AS v({})".format(", ".join(f"w_{n} {t}" for n, t in CARRIED.items()))
_SQLITE_ROWS = "(SELECT {} FROM json_each(%s)) AS v".format(
    ", ".join(f"json_extract(value, '$.w_{n}') AS w_{n}" for n in CARRIED)
)
_DIALECTS = {
    "postgresql": (_POSTGRES_ROWS, "statement_timestamp()", "statement_timestamp() + v.w_ttl_s * interval '1 second'"),
    "sqlite": (
        _SQLITE_ROWS,
        "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')",
        "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', '+' || v.w_ttl_s || ' seconds')",
    ),
}


@dataclass(frozen=True)
class UpdatedRow:
    seq: int
    stop_requested_at: datetime | None
    expires_at: datetime | None
    at: datetime
    epoch: int
    """The policy epoch of the tenant: it grows with every change of a policy or matrix row."""


@dataclass(frozen=True)
class BumpedRow:
    seq: int
    at: datetime
    tenant_id: UUID
    environment_id: UUID
    state: str
    leased: bool


def guarded_update(guards: list[dict[str, Any]]) -> dict[UUID, UpdatedRow]:
    """Update the rows that match their guard; return them by id. One statement for any number of guards."""
    parameters = [json.dumps([_carried(g) for g in guards])]
    return {
        as_uuid(r[0]): UpdatedRow(r[1], as_time(r[2]), as_time(r[3]), _the_time(r[4]), int(r[5]))
        for r in run_prepared(_statement(connection.vendor), parameters)
    }


@cache
def _statement(vendor: str) -> str:
    rows, now, later = _DIALECTS[vendor]
    kept = ", ".join(f"{name} = COALESCE(v.w_{name}, a.{name})" for name in KEPT_UNLESS_CARRIED)
    return f"""
        UPDATE actions_action AS a SET
            state = v.w_target,
            seq = a.seq + v.w_events,
            lease_id = CASE WHEN v.w_release THEN NULL ELSE a.lease_id END,
            plan_id = COALESCE(v.w_plan, a.plan_id),
            {kept},
            held_reason = CASE WHEN v.w_target <> 'held' THEN '' ELSE COALESCE(v.w_held_reason, a.held_reason) END,
            stop_requested_at = CASE WHEN v.w_stop THEN {now} WHEN v.w_target <> v.w_source THEN NULL
                                ELSE a.stop_requested_at END,
            stop_reason = CASE WHEN v.w_stop THEN COALESCE(v.w_stop_reason, '') WHEN v.w_target <> v.w_source THEN ''
                       ELSE a.stop_reason END,
            wake_at = CASE WHEN v.w_wake_s IS NOT NULL THEN {later.replace("ttl_s", "wake_s")} END,
            expires_at = CASE WHEN v.w_ttl_s IS NOT NULL THEN {later}
                         WHEN v.w_target NOT IN ('awaiting_approval', 'approved') THEN NULL ELSE a.expires_at END,
            approved_at = CASE WHEN v.w_target = 'approved' AND v.w_source <> 'approved' THEN {now}
                          ELSE a.approved_at END,
            started_at = CASE WHEN v.w_target = 'in_progress' THEN COALESCE(a.started_at, {now}) ELSE a.started_at END,
            completed_at = CASE WHEN v.w_target IN {ENDED_SQL} THEN {now} ELSE NULL END,
            incident_seq = CASE WHEN v.w_target <> v.w_source AND v.w_target IN {INCIDENT_STATES_SQL}
                          THEN a.seq + v.w_events ELSE a.incident_seq END
        FROM {rows}
        WHERE a.id = v.w_id AND a.state = v.w_source AND a.seq = v.w_seq
            AND (NOT v.w_fenced OR a.lease_id = v.w_lease)
            AND (NOT v.w_begins OR {IS_NOT_FROZEN})
            AND (v.w_admitted OR {IS_UNLIMITED})
        RETURNING id, seq, stop_requested_at, expires_at, {now}, {epoch_sql("tenant_id")}"""


def bump_seq(action_id: UUID) -> BumpedRow:
    """Lock one action and take its next seq. Raises LookupError if there is no such action."""
    _, now, _ = _DIALECTS[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE actions_action SET seq = seq + 1 WHERE id = %s
                RETURNING seq, {now}, tenant_id, environment_id, state, lease_id IS NOT NULL""",
            [_key(action_id)],
        )
        row = cursor.fetchone()
    if row is None:
        raise LookupError(f"no action {action_id}")
    return BumpedRow(row[0], _the_time(row[1]), as_uuid(row[2]), as_uuid(row[3]), row[4], bool(row[5]))


def _carried(guard: dict[str, Any]) -> dict[str, Any]:
    unknown = guard.keys() - CARRIED.keys()
    if unknown:
        raise ValueError(f"a write cannot set {sorted(unknown)}")
    return {f"w_{k}": _key(v) if isinstance(v, UUID) else v for k, v in guard.items()}


def _key(value: UUID) -> str:
    return str(value) if connection.vendor == "postgresql" else value.hex


def as_uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(hex=value)


def as_time(value: Any) -> datetime | None:
    if isinstance(value, str):
        value = parse_datetime(value)
    if value is not None and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value


def _the_time(value: Any) -> datetime:
    found = as_time(value)
    if found is None:
        raise ValueError("the database gave no time")
    return found

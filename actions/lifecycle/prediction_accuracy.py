"""
Prediction accuracy: planned against verified changes, stored when a run ends and read for the next one.

One statement stores rows for any number of actions, from the rows that the move has just written, and from the journal
and verification of each run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from actions.lifecycle.journal import Journal
from actions.models import Plan
from actions.models.action import PredictionAccuracy
from audit.database.clock import database_time

DAYS, MAX_RUNS = 30, 20
"""Recent runs: at most this many days ago, and at most so many."""
RUN_STATES = ("in_progress", "verifying", "rolling_back", "held")
"""States whose end is the end of a run."""
ENDS = ("completed", "rolled_back", "failed")
STOPPED_BY_A_PERSON = ("aborted", "rolled_back")
APPLIED = ("done", "undoing", "undone", "undo_failed")
KNOWN = ("id", "applied", "standing", "verified_changes", "checks", "checks_failed", "step_ms")
KINDS = {"id": "uuid", "step_ms": "jsonb"}
MAX_STEPS_TIMED = 64
COLUMNS = (
    "action_id",
    "environment_id",
    "type",
    "target",
    "state",
    "code",
    "is_failure",
    "tier",
    "score",
    "predicted_changes",
    "predicted_deletes",
    "predicted_resources",
    "steps",
    "applied",
    "standing",
    "verified_changes",
    "checks",
    "checks_failed",
    "duration_ms",
    "ended_at",
    "step_ms",
)
_POSTGRES = {
    "rows": "jsonb_to_recordset(%s::jsonb) AS v({})".format(
        ", ".join(f"w_{name} {KINDS.get(name, 'integer')}" for name in KNOWN)
    ),
    "count": "COALESCE((p.counts->>'{}')::integer, 0)",
    "text": "COALESCE({0}->>'{1}', '')",
    "ms": "(EXTRACT(EPOCH FROM (statement_timestamp() - a.started_at)) * 1000)::bigint",
    "array": "COALESCE(json_agg(json_build_array(h.is_failure, h.state, h.steps, h.duration_ms, h.step_ms))::text, '')",
    "since": f"statement_timestamp() - interval '{DAYS} days'",
}
_SQLITE = {
    "rows": "(SELECT {} FROM json_each(%s)) AS v".format(
        ", ".join(f"json_extract(value, '$.w_{name}') AS w_{name}" for name in KNOWN)
    ),
    "count": "COALESCE(json_extract(p.counts, '$.{}'), 0)",
    "text": "COALESCE(json_extract({0}, '$.{1}'), '')",
    "ms": "CAST((julianday('now') - julianday(a.started_at)) * 86400000 AS integer)",
    "array": "json_group_array(json_array(h.is_failure, h.state, h.steps, h.duration_ms, json(h.step_ms)))",
    "since": f"strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', '-{DAYS} days')",
}


def measure_run(plan: Plan, journal: Journal, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The result of a run, by its journal and its verification report, if any. Pure."""
    keys = [s["key"] for s in plan.steps]
    counts, blast = plan.counts, plan.blast
    found: dict[str, Any] = {
        "predicted": {name: counts.get(name, 0) for name in ("changes", "deletes", "resources")}
        | {"score": blast.get("score"), "tier": plan.verdict.get("tier")},
        "applied": sum(journal[key].state in APPLIED or journal[key].effect for key in keys),
        "standing": sum(journal[key].effect for key in keys),
    }
    if report is None:
        return found
    read = [c["ok"] for c in report["checks"] if c.get("kind") == "step"]
    changes = int(counts.get("changes", 0))
    seen = changes if all(read) and read else min(changes, sum(read))
    bad = sum(not c["ok"] for c in report["checks"])
    found |= {"verified_changes": seen, "checks": len(report["checks"]), "checks_failed": bad}
    return {**found, "step_ms": step_ms(keys, journal)} if not bad and len(keys) <= MAX_STEPS_TIMED else found


def step_ms(keys: Sequence[str], journal: Journal) -> list[int] | None:
    """How long each step took, from its first intent to its last end; None unless all are done."""
    records = [journal[key] for key in keys]
    if not all(r.state == "done" and r.started_at and r.ended_at for r in records):
        return None
    return [max(0, round((r.ended_at - r.started_at).total_seconds() * 1000)) for r in records]


def accuracy_facts(impact: Mapping[str, Any]) -> dict[str, Any]:
    """The prediction accuracy for the facts of a run's last event."""
    return {name: value for name, value in impact.items() if name != "step_ms"}


def record_accuracy(known: Mapping[UUID, Mapping[str, Any]]) -> None:
    """
    Store the prediction accuracy of actions that just moved; none for those that never started. One statement.

    Inside the transaction of the move. Earlier results (a failed verification before its rollback) are kept.
    """
    sql = _POSTGRES if connection.vendor == "postgresql" else _SQLITE
    rows = [{"w_id": pk if sql is _POSTGRES else pk.hex} | _prefixed(facts) for pk, facts in known.items()]
    with connection.cursor() as cursor:
        cursor.execute(_statement(sql), [json.dumps(rows, default=str)])


def _prefixed(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"w_{name}": facts.get(name) for name in KNOWN[1:]}


def _statement(sql: dict[str, str]) -> str:
    code, stopped, ends = sql["text"].format("a.error", "code"), _listed(STOPPED_BY_A_PERSON), _listed(ENDS)
    values = [
        "a.id",
        "a.environment_id",
        "a.type",
        target_sql("a"),
        "a.state",
        f"SUBSTR({code}, 1, 120)",
        f"(a.state <> 'completed' AND {code} NOT IN {stopped})",
        "a.tier",
        "COALESCE(a.blast_score, 0)",
        *[sql["count"].format(name) for name in ("changes", "deletes", "resources")],
        "a.steps_total",
        "COALESCE(v.w_applied, a.steps_done)",
        "COALESCE(v.w_standing, a.steps_done)",
        "v.w_verified_changes",
        "v.w_checks",
        "v.w_checks_failed",
        sql["ms"],
        f"CASE WHEN a.state IN {ends} THEN a.completed_at END",
        "v.w_step_ms",
    ]
    once = ("verified_changes", "checks", "checks_failed")
    update = [f"{name} = excluded.{name}" for name in COLUMNS[1:] if name not in once]
    update += [f"{name} = COALESCE(excluded.{name}, {PredictionAccuracy._meta.db_table}.{name})" for name in once]
    return f"""
        INSERT INTO {PredictionAccuracy._meta.db_table} ({", ".join(COLUMNS)}) SELECT {", ".join(values)}
        FROM {sql["rows"]} JOIN actions_action a ON a.id = v.w_id JOIN actions_plan p ON p.id = a.plan_id
        WHERE a.started_at IS NOT NULL AND NOT a.simulated
        ON CONFLICT (action_id) DO UPDATE SET {", ".join(update)}"""


def _listed(words: tuple[str, ...]) -> str:
    return "({})".format(", ".join(f"'{word}'" for word in words))


def target_sql(table: str) -> str:
    """SQL for the target of an action as stored: node and service, either may be empty."""
    text = (_POSTGRES if connection.vendor == "postgresql" else _SQLITE)["text"]
    return " || '/' || ".join(text.format(f"{table}.target", part) for part in ("node", "service"))


@dataclass(frozen=True)
class PastRun:
    """An earlier run: `step_ms` in the order of its plan's steps, None if not stored."""

    is_failure: bool
    is_verified: bool
    steps: int
    duration_ms: int
    step_ms: list[int] | None


PAST_COLUMNS = ("is_failure", "state", "steps", "duration_ms", "step_ms")


def past_runs_sql(table: str) -> str:
    """
    A scalar subquery on the last runs like an action of `table`: JSON for `parse_past_runs`.

    Like it: same type, environment and target. At most 20 rows of an index.
    """
    sql = _POSTGRES if connection.vendor == "postgresql" else _SQLITE
    return (
        f"(SELECT {sql['array']} FROM (SELECT i.is_failure, i.state, i.steps, i.duration_ms, i.step_ms "
        f"FROM {PredictionAccuracy._meta.db_table} i "
        f"WHERE i.environment_id = {table}.environment_id AND i.type = {table}.type "
        f"AND i.target = {target_sql(table)} AND i.ended_at > {sql['since']} ORDER BY i.ended_at DESC "
        f"LIMIT {MAX_RUNS}) h)"
    )


def parse_past_runs(text: str | None) -> list[PastRun]:
    """The runs that `past_runs_sql` found."""
    return [PastRun(bool(failed), state == "completed", *more) for failed, state, *more in json.loads(text or "[]")]


def find_past_runs(environment_id: UUID, type_name: str, target: Mapping[str, Any]) -> list[PastRun]:
    """The same for a submission that is not an action yet. Two queries."""
    where = f"{target.get('node', '')}/{target.get('service', '')}"
    alike = PredictionAccuracy.objects.filter(environment_id=environment_id, type=type_name, target=where)
    recent = alike.filter(ended_at__gt=database_time() - timedelta(days=DAYS)).order_by("-ended_at")
    return [
        PastRun(failed, state == "completed", *more)
        for failed, state, *more in recent.values_list(*PAST_COLUMNS)[:MAX_RUNS]
    ]


def count_history(past: Sequence[PastRun]) -> dict[str, int]:
    """The history of runs, for the facts."""
    return {"ended": len(past), "failed": sum(run.is_failure for run in past), "days": DAYS}


def ends_a_run(source: str, target: str) -> bool:
    """Whether a move may be the end of a run."""
    return target in ENDS and source in RUN_STATES

"""Load the contexts of dequeued actions: a fixed number of queries for a whole batch."""

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from django.db.models import BigIntegerField, Exists, OuterRef, Q, Subquery, TextField
from django.db.models.expressions import RawSQL

from actions.controls.limits import is_limited
from actions.controls.quarantine import quarantines_in
from actions.lifecycle.context import ActionContext, load_dependency_edges, target_of
from actions.lifecycle.journal import Journal
from actions.lifecycle.prediction_accuracy import parse_past_runs, past_runs_sql
from actions.models import Action, CircuitBreaker, JournalEntry, Quarantine, ResourceLock
from actions.run.step_log import lines_of_earlier_workers
from actions.types.protocol import Executor
from actions.types.registry import get_executor
from approvals.policies.active_policies import active_policies_for, epoch_sql
from approvals.policies.matrix import matrix_for
from approvals.policies.weights import weights_for, weights_of
from audit.errors import Problem
from audit.log.events import ChainHead
from audit.models import Event
from tenants.models import Resource

TROUBLED = ~Q(state=CircuitBreaker.State.CLOSED) | Q(failures__gt=0)
"""Of a breaker: it counts failures."""


def load_contexts(action_ids: list[UUID], lease: int, at: datetime | None = None) -> list[ActionContext]:
    """
    Load claimed actions with their surroundings: six queries at most, whatever the number of actions.

    One more where something is in quarantine, and one where an earlier worker left attempts open.
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
    """The step journals of actions, by id. One query, none where nothing has begun."""
    begun = [a.pk for a in actions if a.started_at]
    lines: dict[UUID, list[JournalEntry]] = {}
    for line in JournalEntry.objects.filter(action__in=begun).order_by("id") if begun else ():
        lines.setdefault(line.action_id, []).append(line)
    return {a.pk: Journal.of(lines.get(a.pk, []), a.simulated) for a in actions}


def _load_actions(action_ids: list[UUID]) -> list[Any]:
    """The actions with what one query can tell of them besides: times of the rules, history, claims and the like."""
    epoch = RawSQL(epoch_sql("actions_action.tenant_id"), [], output_field=BigIntegerField())
    last = Event.objects.filter(subject_id=OuterRef("pk"), seq=OuterRef("seq")).values("hash")[:1]
    past = RawSQL(past_runs_sql("actions_action"), [], output_field=TextField())
    claims = Exists(ResourceLock.objects.filter(action=OuterRef("pk"), held=True))
    shut = Exists(Quarantine.objects.filter(environment=OuterRef("environment"), cleared_at=None))
    troubled = Exists(CircuitBreaker.objects.filter(TROUBLED, key=OuterRef("breaker_key")))
    joined = Action.objects.annotate(
        has_failures=troubled,
        epoch=epoch,
        past=past,
        head=Subquery(last),
        has_locks=claims,
        has_quarantine=shut,
        is_limited=is_limited(),
    ).select_related("environment__tenant__blast_weights", "requester__owner", "plan", "undo_of__plan")
    return list(joined.filter(pk__in=action_ids).order_by("-priority", "id"))


def find_executor(name: str) -> tuple[Executor, str]:
    """The executor of a type, or why there is none; the caller must look at the fault first."""
    try:
        return get_executor(name), ""
    except Problem as problem:
        return cast(Executor, None), problem.detail


def reload_rules(contexts: list[ActionContext]) -> None:
    """Bring rules, matrix and weights of these contexts up to date: three queries, only when somebody changed a
    rule.
    """
    tenants = {c.action.tenant_id for c in contexts}
    rules, matrix, weights = active_policies_for(tenants), matrix_for(tenants), weights_for(tenants)
    for c in contexts:
        c.rules = rules.get(c.action.tenant_id, [])
        c.matrix = matrix.get(c.action.environment_id, {})
        c.weights = weights.get(c.action.tenant_id, {})
        c.facts = with_current_rules(c.facts, c.matrix, c.weights)


def with_current_rules(facts: dict[str, Any], matrix: dict[str, Any], weights: dict[str, int]) -> dict[str, Any]:
    """The facts that a plan was judged on, with the matrix and the weights that hold now; none if there were none."""
    return {**facts, "matrix": matrix, "weights": weights} if facts else {}

"""
One action in a worker's hands, and what its script may ask of the runner.

A script is a generator. It yields a `Write` and goes on once that is durable, an `Effect` and goes on with what the
effect came to, or a `Launch` for each of several effects at once and then `Landed` until all of them have ended.
Scripts run in the worker's main thread and may read the database; effects run in threads and must not.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.db.models import BigIntegerField, Exists, OuterRef, Q, Subquery, TextField
from django.db.models.expressions import RawSQL

from actions.impact import Past, history_of, past_sql, read_past
from actions.ledger import Ledger
from actions.lifecycle import Write
from actions.models import Action, BeforeImage, Breaker, Checkpoint, Plan, Quarantine, ResourceClaim
from actions.quarantine import in_force
from actions.scheduling.caps import is_capped
from actions.surroundings import Edges, edges_in
from actions.transcripts import Attempt, earlier_of
from actions.types.protocol import Executor, Target
from actions.types.registry import get
from approvals.policies.active_policies import ActivePolicy, active_policies_for, epoch_sql
from approvals.policies.matrix import matrix_for
from approvals.policies.weights import weights_for, weights_of
from audit.errors import Problem
from audit.log.events import ChainHead
from audit.models import Event
from tenants.models import Resource
from tenants.vault import decrypt, mask_key

TROUBLED = ~Q(state=Breaker.State.CLOSED) | Q(failures__gt=0)
"""Of a breaker: it counts failures."""


@dataclass(frozen=True)
class Effect:
    """Work outside any transaction: reading a target, or changing it. `call` runs in a thread."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Launch:
    """An effect that runs beside others of the same action; the script goes on at once. `key` names what came of it."""

    key: str
    call: Callable[[], Any]
    overdue_s: float = float("inf")
    """After this long it is taken to have overrun: the script hears `Overran` while the effect may still be running."""
    delay_s: float = 0.0
    """How long the runner waits before it begins, with no thread of its own; less if the run is to stop meanwhile."""


class Landed:
    """Wait until launched effects end; the script goes on with [(key, Result)], at least one."""


class Overran(Exception):
    """An effect did not end when its time was up, and cannot be called back."""


@dataclass(frozen=True)
class Result:
    """What an effect came to: a value, or the exception it raised."""

    value: Any = None
    error: BaseException | None = None


Intended = dict[str, Any]
Asked = Write | Effect | Launch | Landed
Script = Generator[Asked, Any, None]


@dataclass
class Case:
    """An action with all that its script needs, loaded in a fixed number of queries for a whole batch."""

    action: Action
    executor: Executor
    target: Target
    head: ChainHead
    lease: int
    matrix: dict[str, list[dict[str, Any]]]
    resources: dict[tuple[str, str], Resource]
    edges: Edges | None = field(default_factory=dict)
    """Which resources of the tenant need which; None: too many to follow."""
    past: list[Past] = field(default_factory=list)
    """How the last runs like this one went."""
    weights: dict[str, int] = field(default_factory=dict)
    """The tenant's weights of the blast radius, where they are not 100."""
    ledger: Ledger = field(default_factory=Ledger)
    rules: list[ActivePolicy] = field(default_factory=list)
    """The published guard policies of the tenant, as of the claim or the last change that was noticed."""
    epoch: int | None = None
    """Of the rules above; a write that returns another one says that they have changed since."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    """The database's time, as of the claim and then of each write."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the plan under way was judged on; set at the start, judged again at every checkpoint."""
    undone: dict[str, bytes] = field(default_factory=dict, repr=False)
    """The before-images of the action that this one undoes, by step; loaded by the scripts, in the main thread."""
    halting: Callable[[], bool] = lambda: False
    """Whether the worker itself is about to stop."""
    is_troubled: bool = False
    """Whether something like this failed here lately, which its breaker counts."""
    fault: str = ""
    """Why this action cannot be carried at all: its executor is missing or broken."""
    quarantines: dict[str, Quarantine] = field(default_factory=dict)
    """What is in quarantine where it lands, by key, as of the claim."""
    looked_back: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was found before each irreversible step: the report that lets it begin, or does not."""
    attempts: int = 0
    failures: int = 0
    """How many attempts at its steps have ended in these hands, and how many of them failed."""
    is_capped: bool = True
    """Whether a cap counts it, as of the claim."""
    has_claims: bool = False
    """Whether it has its resources for itself."""
    is_breaking_off: bool = False
    """Whether a step failed for good: what runs beside it should end at the next safe point."""
    found_open: frozenset[str] = frozenset()
    """Steps whose intent, or undo intent, an earlier worker left without an end: probed before anything else."""

    transcripts: dict[Attempt, list[str]] = field(default_factory=dict, repr=False)
    """The logs of the attempts under way, filled by their threads."""
    earlier: dict[Attempt, list[str]] = field(default_factory=dict, repr=False)
    """What an earlier worker had written of attempts that it left open."""
    intended: dict[str, list[Intended]] = field(default_factory=dict, repr=False)
    """What each step of a simulation would change; loaded by its script, in the main thread."""

    @property
    def history(self) -> dict[str, int]:
        """How the last runs like this one ended, as the facts carry it."""
        return history_of(self.past)

    @property
    def changes_something(self) -> bool:
        """Whether this run touches anything: a simulation never does."""
        return self.executor.changes_something and not self.action.simulated

    @property
    def plan(self) -> Plan:
        """The current plan. Only scripts of actions that have one may ask."""
        if self.action.plan is None:
            raise LookupError(f"action {self.action.pk} has no plan")
        return self.action.plan

    @property
    def steps(self) -> list[dict[str, Any]]:
        return list(self.action.plan.steps) if self.action.plan else []

    def before_images(self, action_id: UUID) -> dict[str, bytes]:
        """Decrypt the before-images of an action of this tenant, by step. Main thread only: it reads the database."""
        rows = BeforeImage.objects.filter(action_id=action_id, action__tenant_id=self.action.tenant_id)
        tenant = self.action.environment.tenant
        return {i.step: decrypt(tenant, bytes(i.ciphertext), image_context(action_id, i.step)) for i in rows}


def read_rules_again(cases: list[Case]) -> None:
    """Bring rules, matrix and weights of these cases up to date: three queries, only when somebody changed a rule."""
    tenants = {c.action.tenant_id for c in cases}
    rules, matrix, weights = active_policies_for(tenants), matrix_for(tenants), weights_for(tenants)
    for c in cases:
        c.rules = rules.get(c.action.tenant_id, [])
        c.matrix = matrix.get(c.action.environment_id, {})
        c.weights = weights.get(c.action.tenant_id, {})
        c.facts = under_rules_of_now(c.facts, c.matrix, c.weights)


def under_rules_of_now(facts: dict[str, Any], matrix: dict[str, Any], weights: dict[str, int]) -> dict[str, Any]:
    """The facts that a plan was judged on, with the matrix and the weights that hold now; none if there were none."""
    return {**facts, "matrix": matrix, "weights": weights} if facts else {}


def image_context(action_id: UUID, step: str) -> str:
    """What a before-image is bound to, so that no ciphertext can stand in for another."""
    return f"before-image:{action_id}:{step}"


def durably(case: Case, make: Callable[[], Write]) -> Generator[Write, bool, Write]:
    """Yield what `make` returns until it sticks; it is made anew whenever the action has moved on meanwhile."""
    while True:
        w = make()
        if (yield w):
            return w


def load_cases(action_ids: list[UUID], lease: int, at: datetime | None = None) -> list[Case]:
    """
    Load claimed actions with their surroundings: six queries at most, whatever the number of actions.

    One more where something is in quarantine, and one where an earlier worker left attempts open.
    """
    actions = _joined(action_ids)
    if not actions:
        return []
    matrix = matrix_for({a.tenant_id for a in actions})
    rules = active_policies_for({a.tenant_id for a in actions})
    resources: dict[UUID, dict[tuple[str, str], Resource]] = {}
    for r in Resource.objects.filter(environment__in={a.environment_id for a in actions}):
        resources.setdefault(r.environment_id, {})[r.kind, r.name] = r
    edges = edges_in({a.tenant_id for a in actions}) if resources else {}
    careful = {a.environment_id for a in actions if a.has_quarantine}
    quarantines = in_force(careful) if careful else {}
    found = {a.type: executor_of(a.type) for a in actions}
    ledgers = ledgers_of(actions)
    left_open = [a.pk for a in actions if ledgers[a.pk].open_steps()]
    earlier = earlier_of(left_open) if left_open else {}
    weights = {a.pk: weights_of(a.environment.tenant) for a in actions}
    return [
        Case(
            action=a,
            executor=found[a.type][0],
            fault=found[a.type][1],
            target=target_of(a),
            head=ChainHead(a.seq, bytes(a.head)),
            lease=lease,
            matrix=matrix.get(a.environment_id, {}),
            resources=resources.get(a.environment_id, {}),
            edges=edges,
            past=read_past(a.past),
            weights=weights[a.pk],
            rules=rules.get(a.tenant_id, []),
            epoch=a.epoch,
            now=at or datetime.now(UTC),
            facts=under_rules_of_now(a.plan.facts if a.plan else {}, matrix.get(a.environment_id, {}), weights[a.pk]),
            ledger=ledgers[a.pk],
            has_claims=a.has_claims,
            is_capped=a.is_capped,
            is_troubled=a.is_troubled,
            quarantines=quarantines.get(a.environment_id, {}),
            found_open=ledgers[a.pk].open_steps(),
            earlier=earlier.get(a.pk, {}),
        )
        for a in actions
    ]


def ledgers_of(actions: list[Any]) -> dict[UUID, Ledger]:
    """The step ledgers of actions, by id. One query, none where nothing has begun."""
    begun = [a.pk for a in actions if a.started_at]
    lines: dict[UUID, list[Checkpoint]] = {}
    for line in Checkpoint.objects.filter(action__in=begun).order_by("id") if begun else ():
        lines.setdefault(line.action_id, []).append(line)
    return {a.pk: Ledger.of(lines.get(a.pk, []), a.simulated) for a in actions}


def _joined(action_ids: list[UUID]) -> list[Any]:
    """The actions with what one query can tell of them besides: times of the rules, history, claims and the like."""
    epoch = RawSQL(epoch_sql("actions_action.tenant_id"), [], output_field=BigIntegerField())
    last = Event.objects.filter(subject_id=OuterRef("pk"), seq=OuterRef("seq")).values("hash")[:1]
    past = RawSQL(past_sql("actions_action"), [], output_field=TextField())
    claims = Exists(ResourceClaim.objects.filter(action=OuterRef("pk"), held=True))
    shut = Exists(Quarantine.objects.filter(environment=OuterRef("environment"), cleared_at=None))
    troubled = Exists(Breaker.objects.filter(TROUBLED, key=OuterRef("breaker_key")))
    joined = Action.objects.annotate(
        is_troubled=troubled,
        epoch=epoch,
        past=past,
        head=Subquery(last),
        has_claims=claims,
        has_quarantine=shut,
        is_capped=is_capped(),
    ).select_related("environment__tenant__blast_weights", "requester__owner", "plan", "undo_of__plan")
    return list(joined.filter(pk__in=action_ids).order_by("-priority", "id"))


def executor_of(name: str) -> tuple[Executor, str]:
    """The executor of a type, or why there is none; the caller must look at the fault first."""
    try:
        return get(name), ""
    except Problem as problem:
        return cast(Executor, None), problem.detail


def target_of(action: Action) -> Target:
    """Where an action lands, as its executor is told."""
    environment = action.environment
    return target_in(environment, action.target)


def target_in(environment: Any, target: dict[str, Any]) -> Target:
    return Target(
        tenant_id=environment.tenant_id,
        environment_id=environment.pk,
        environment=environment.slug,
        root=Path(environment.root) if environment.root else None,
        settings=environment.settings,
        node=target.get("node", ""),
        service=target.get("service", ""),
        mask_key=mask_key(environment.tenant),
    )

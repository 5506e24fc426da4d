"""
The context of one action in a worker, and the requests that its workflow makes of the runner.

A workflow is a generator. It yields a `Transition` and continues once that is committed, a `RunEffect` and continues
with its result, or a `StartEffect` for each of several parallel effects and then `AwaitEffects` until all have ended.
Workflows run in the worker's main thread and may read the database; effects run in threads and must not.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from actions.controls.resource_locks import LockRequest, lock_requests
from actions.lifecycle.journal import AttemptKey, Journal
from actions.lifecycle.prediction_accuracy import PastRun, count_history
from actions.lifecycle.transitions import Transition
from actions.models import Action, BeforeImage, Plan, Quarantine
from actions.types.protocol import Executor, Target
from approvals.policies.active_policies import ActivePolicy
from audit.log.events import ChainHead
from tenants.models import Resource
from tenants.vault import decrypt, mask_key

MAX_EDGES = 20_000
MAX_DEPENDENTS = 1_000
NAMED_DEPENDENTS = 5
DependencyEdges = dict[UUID, list[UUID]]
"""The resources that directly depend on each resource."""


def load_dependency_edges(tenant_ids: Iterable[UUID]) -> DependencyEdges | None:
    """The dependencies between resources of these tenants; None if they are too many to follow. One query."""
    joins = Resource.depends_on.through.objects.filter(to_resource__tenant__in=list(tenant_ids)).order_by()
    found: DependencyEdges = {}
    pairs = list(joins.values_list("to_resource_id", "from_resource_id")[: MAX_EDGES + 1])
    for needed, needing in pairs:
        found.setdefault(needed, []).append(needing)
    return found if len(pairs) <= MAX_EDGES else None


def find_dependents(
    touched: Iterable[Resource], edges: DependencyEdges | None, here: Mapping[Any, Resource]
) -> dict[str, Any]:
    """
    All direct and indirect dependents of the touched resources: {"count", "names", "more"}. Pure.

    Only resources of the same environment are named: whoever may view one environment may not view the next. `more`:
    not followed to the end, so the maximum is assumed.
    """
    start = {r.pk for r in touched}
    if edges is None:
        return {"count": MAX_DEPENDENTS if start else 0, "names": [], "more": bool(start)}
    seen, rest = set(start), list(start)
    while rest and len(seen) - len(start) < MAX_DEPENDENTS:
        for needing in edges.get(rest.pop(), ()):
            if needing not in seen:
                seen.add(needing)
                rest.append(needing)
    far = seen - start
    named = sorted(r.name for r in here.values() if r.pk in far)[:NAMED_DEPENDENTS] if far else []
    return {"count": len(far), "names": named, "more": bool(rest)}


# The context of one action, and the requests of its workflow.


@dataclass(frozen=True)
class RunEffect:
    """Work outside any transaction: reading a target, or changing it. `call` runs in a thread."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class StartEffect:
    """
    An effect that runs in parallel with others of the same action; the workflow continues at once. `key` names its
    result.
    """

    key: str
    call: Callable[[], Any]
    overdue_s: float = float("inf")
    """After this long it counts as timed out: the workflow receives `EffectTimeout` while the effect may still run."""
    delay_s: float = 0.0
    """How long the runner waits before it starts, without a thread; less if the run is to stop meanwhile."""


class AwaitEffects:
    """Wait until started effects end; the workflow continues with [(key, EffectResult)], at least one."""


class EffectTimeout(Exception):
    """An effect did not end in time, and cannot be stopped."""


@dataclass(frozen=True)
class EffectResult:
    """The result of an effect: a value, or the exception that it raised."""

    value: Any = None
    error: BaseException | None = None


IntendedChange = dict[str, Any]
WorkflowRequest = Transition | RunEffect | StartEffect | AwaitEffects
Workflow = Generator[WorkflowRequest, Any, None]


@dataclass
class ActionContext:
    """An action with all that its workflow needs, loaded in a fixed number of queries per batch."""

    action: Action
    executor: Executor
    target: Target
    head: ChainHead
    lease: int
    matrix: dict[str, list[dict[str, Any]]]
    resources: dict[tuple[str, str], Resource]
    edges: DependencyEdges | None = field(default_factory=dict)
    """The dependencies between the tenant's resources; None: too many to follow."""
    past: list[PastRun] = field(default_factory=list)
    """The last runs like this one."""
    weights: dict[str, int] = field(default_factory=dict)
    """The tenant's weights of the blast radius, where they are not 100."""
    journal: Journal = field(default_factory=Journal)
    rules: list[ActivePolicy] = field(default_factory=list)
    """The published guard policies of the tenant, as of the dequeue or the last noticed change."""
    epoch: int | None = None
    """The epoch of these policies; a commit that returns another one means that they changed."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    """The database's time, as of the dequeue and then of each commit."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The facts of the current plan; set at the start, evaluated again at every checkpoint."""
    undone: dict[str, bytes] = field(default_factory=dict, repr=False)
    """The before-images of the action that this one undoes, by step; loaded by the workflow, in the main thread."""
    halting: Callable[[], bool] = lambda: False
    """Whether the worker itself is about to stop."""
    has_failures: bool = False
    """Whether its circuit breaker counts recent failures."""
    fault: str = ""
    """Why this action cannot run at all: its executor is missing or broken."""
    quarantines: dict[str, Quarantine] = field(default_factory=dict)
    """The quarantines of its environment, by key, as of the dequeue."""
    checked_before: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The readiness report of each irreversible step."""
    attempts: int = 0
    failures: int = 0
    """How many attempts ended in this worker, and how many of them failed."""
    is_limited: bool = True
    """Whether a concurrency limit covers it, as of the dequeue."""
    has_locks: bool = False
    """Whether it holds its resource locks."""
    is_breaking_off: bool = False
    """Whether a step failed finally: parallel attempts should end at the next safe point."""
    opened_earlier: frozenset[str] = frozenset()
    """Steps whose intent or undo intent an earlier worker left open: probed before anything else."""

    transcripts: dict[AttemptKey, list[str]] = field(default_factory=dict, repr=False)
    """The transcripts of running attempts, filled by their threads."""
    earlier: dict[AttemptKey, list[str]] = field(default_factory=dict, repr=False)
    """Log lines of an earlier worker's open attempts."""
    intended: dict[str, list[IntendedChange]] = field(default_factory=dict, repr=False)
    """The intended changes of each step of a simulation; loaded by its workflow, in the main thread."""

    @property
    def history(self) -> dict[str, int]:
        """The history of the last runs like this one, for the facts."""
        return count_history(self.past)

    @property
    def changes_something(self) -> bool:
        """Whether this run changes anything: a simulation never does."""
        return self.executor.changes_something and not self.action.simulated

    @property
    def plan(self) -> Plan:
        """The current plan. Raises LookupError if there is none."""
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
        return {i.step: decrypt(tenant, bytes(i.ciphertext), before_image_context(action_id, i.step)) for i in rows}


def before_image_context(action_id: UUID, step: str) -> str:
    """The encryption context of a before-image, so that no ciphertext can replace another."""
    return f"before-image:{action_id}:{step}"


def commit_durably(context: ActionContext, make: Callable[[], Transition]) -> Generator[Transition, bool, Transition]:
    """Yield the transition that `make` returns until its guard matches; make it again whenever the action moved on."""
    while True:
        transition = make()
        if (yield transition):
            return transition


def target_of(action: Action) -> Target:
    """The target of an action, for its executor."""
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


# Resource locks of a run.


def lock_requests_of(context: ActionContext) -> list[LockRequest]:
    """The resource locks of a run: every resource that its plan touches, unless it changes nothing."""
    if not context.changes_something:
        return []
    return lock_requests(context.action.environment_id, context.facts.get("resources", []))

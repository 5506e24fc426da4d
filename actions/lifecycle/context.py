"""
The context of one action in a worker, and the requests that its workflow makes of the runner.

A workflow is a generator. It yields a `Transition` and goes on once that is durable, a `RunEffect` and goes on with its
result, or a `StartEffect` for each of several effects at once and then `AwaitEffects` until all of them have ended.
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
"""The resources that directly need each resource."""


def load_dependency_edges(tenant_ids: Iterable[UUID]) -> DependencyEdges | None:
    """Who needs what in these tenants; None where that is more than anybody should follow. One query."""
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
    Everything that stands on what is touched, near and far: {"count", "names", "more"}. Pure.

    Only resources of the same environment are named: who may see one environment need not see the next. `more`: it was
    not followed to the end, so the most is assumed.
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


# One action in a worker's hands, and what its script may ask of the runner.


@dataclass(frozen=True)
class RunEffect:
    """Work outside any transaction: reading a target, or changing it. `call` runs in a thread."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class StartEffect:
    """An effect that runs beside others of the same action; the script goes on at once. `key` names what came of it."""

    key: str
    call: Callable[[], Any]
    overdue_s: float = float("inf")
    """After this long it is taken to have overrun: the script hears `Overran` while the effect may still be running."""
    delay_s: float = 0.0
    """How long the runner waits before it begins, with no thread of its own; less if the run is to stop meanwhile."""


class AwaitEffects:
    """Wait until launched effects end; the script goes on with [(key, Result)], at least one."""


class EffectTimeout(Exception):
    """An effect did not end when its time was up, and cannot be called back."""


@dataclass(frozen=True)
class EffectResult:
    """What an effect came to: a value, or the exception it raised."""

    value: Any = None
    error: BaseException | None = None


IntendedChange = dict[str, Any]
WorkflowRequest = Transition | RunEffect | StartEffect | AwaitEffects
Workflow = Generator[WorkflowRequest, Any, None]


@dataclass
class ActionContext:
    """An action with all that its script needs, loaded in a fixed number of queries for a whole batch."""

    action: Action
    executor: Executor
    target: Target
    head: ChainHead
    lease: int
    matrix: dict[str, list[dict[str, Any]]]
    resources: dict[tuple[str, str], Resource]
    edges: DependencyEdges | None = field(default_factory=dict)
    """Which resources of the tenant need which; None: too many to follow."""
    past: list[PastRun] = field(default_factory=list)
    """How the last runs like this one went."""
    weights: dict[str, int] = field(default_factory=dict)
    """The tenant's weights of the blast radius, where they are not 100."""
    journal: Journal = field(default_factory=Journal)
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
    has_failures: bool = False
    """Whether something like this failed here lately, which its breaker counts."""
    fault: str = ""
    """Why this action cannot be carried at all: its executor is missing or broken."""
    quarantines: dict[str, Quarantine] = field(default_factory=dict)
    """What is in quarantine where it lands, by key, as of the claim."""
    checked_before: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was found before each irreversible step: the report that lets it begin, or does not."""
    attempts: int = 0
    failures: int = 0
    """How many attempts at its steps have ended in these hands, and how many of them failed."""
    is_limited: bool = True
    """Whether a cap counts it, as of the claim."""
    has_locks: bool = False
    """Whether it has its resources for itself."""
    is_breaking_off: bool = False
    """Whether a step failed for good: what runs beside it should end at the next safe point."""
    opened_earlier: frozenset[str] = frozenset()
    """Steps whose intent, or undo intent, an earlier worker left without an end: probed before anything else."""

    transcripts: dict[AttemptKey, list[str]] = field(default_factory=dict, repr=False)
    """The logs of the attempts under way, filled by their threads."""
    earlier: dict[AttemptKey, list[str]] = field(default_factory=dict, repr=False)
    """What an earlier worker had written of attempts that it left open."""
    intended: dict[str, list[IntendedChange]] = field(default_factory=dict, repr=False)
    """What each step of a simulation would change; loaded by its script, in the main thread."""

    @property
    def history(self) -> dict[str, int]:
        """How the last runs like this one ended, as the facts carry it."""
        return count_history(self.past)

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
        return {i.step: decrypt(tenant, bytes(i.ciphertext), before_image_context(action_id, i.step)) for i in rows}


def before_image_context(action_id: UUID, step: str) -> str:
    """What a before-image is bound to, so that no ciphertext can stand in for another."""
    return f"before-image:{action_id}:{step}"


def commit_durably(context: ActionContext, make: Callable[[], Transition]) -> Generator[Transition, bool, Transition]:
    """Yield what `make` returns until it sticks; it is made anew whenever the action has moved on meanwhile."""
    while True:
        w = make()
        if (yield w):
            return w


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


# What a run must have for itself.


def lock_requests_of(context: ActionContext) -> list[LockRequest]:
    """What a run must have for itself: every resource that its plan touches, unless it changes nothing."""
    if not context.changes_something:
        return []
    return lock_requests(context.action.environment_id, context.facts.get("resources", []))

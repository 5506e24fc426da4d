"""The executor protocol: plan, apply, probe, verify and undo one action type.

An executor is found through the entry point group ``interlock.executors`` (see ``registry``). It never touches the
database, the lifecycle or the models: it is given a ``Target`` and JSON, and gives back JSON, digests and words.
``docs/executor_authors.md`` is the guide; ``conformance.ExecutorConformance`` is the suite every executor must pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable
from uuid import UUID

if TYPE_CHECKING:
    from audit.changes.document import Change

SECURITY_LEVELS = ("low", "medium", "high", "critical")
RISK_CLASSES = ("safe", "guarded", "dangerous")
COMPENSATION_KINDS = ("reversible", "lossy", "irreversible", "none")


@dataclass(frozen=True)
class Issue:
    """One thing wrong with a submission: ``field`` is a dotted path into the parameters, such as ``changes.2.path``."""

    severity: str  # "error" | "warning"
    message: str
    field: str = ""


def error(message: str, field: str = "") -> Issue:
    return Issue("error", message, field)


def warning(message: str, field: str = "") -> Issue:
    return Issue("warning", message, field)


class PlanRefused(Exception):
    """The plan cannot be made as things stand; ``issues`` says why, in words that tell what to do next."""

    def __init__(self, issues: list[Issue] | str):
        self.issues: list[Issue] = [error(issues)] if isinstance(issues, str) else list(issues)
        super().__init__("; ".join(issue.message for issue in self.issues))


@dataclass(frozen=True)
class Target:
    """Where an action lands. ``settings`` are the environment's; ``mask_key`` is the tenant's, for masking secrets."""

    tenant_id: UUID
    environment_id: UUID
    environment: str
    root: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    node: str = ""
    service: str = ""
    mask_key: bytes = field(default=b"", repr=False)


@dataclass
class Draft:
    """What ``plan()`` returns.

    ``steps`` carry ``key, title, target, operation, after, precondition, compensation, spec`` and must be JSON values
    whose integers fit in 2**53. ``before_images`` (step key → raw bytes) are encrypted by the engine and never enter
    the plan. ``observations`` (times, free space, probe results) are stored beside the digest, not in it.
    ``resources`` are ``kind`` and ``name``; what it touches it has for itself while it runs, but for those with
    ``shared: True``. ``order``: ``listed`` runs steps one after the other as they stand; with ``graph`` a step begins,
    beside others, once the steps whose keys are in its ``after`` are done. A step may have ``timeout_s``.
    ``cost_delta`` is monthly; ``None`` means unknown and raises the tier.
    """

    resources: list[dict[str, Any]]
    changes: list[Change]
    steps: list[dict[str, Any]]
    preconditions: list[dict[str, Any]] = field(default_factory=list)
    compensations: list[dict[str, str]] = field(default_factory=list)
    observations: dict[str, Any] = field(default_factory=dict)
    summary: str = ""
    order: Literal["listed", "graph"] = "listed"
    before_images: dict[str, bytes] = field(default_factory=dict, repr=False)
    cost_delta: Decimal | None = Decimal(0)


def no_before_image() -> bytes | None:
    return None


def never() -> bool:
    return False


@dataclass
class StepContext:
    """What one attempt at one step is given. ``deadline`` is on the monotonic clock; ``stopping()`` turns true when the
    attempt should end at the next safe point. ``before_image()`` gives what this step kept to be undone (in
    ``compensate``). ``undone(key)`` gives the before-image of a step of the action that this one undoes: what a step of
    an undo plan writes comes from there, never from ``spec``, which is stored in clear. ``log`` takes one line; secrets
    must not enter it. ``measure`` takes what was used beside this thread, by a child or elsewhere, by name: ``cpu_s``,
    ``read_bytes``, ``written_bytes``, ``peak_memory_bytes``. ``action_id`` is whose step it is, to name it in what is
    left behind."""

    target: Target
    step: dict[str, Any]
    parameters: dict[str, Any]
    idempotency_key: str
    before_image: Callable[[], bytes | None] = no_before_image
    undone: Callable[[str], bytes | None] = lambda step: None
    log: Callable[[str], None] = lambda line: None
    measure: Callable[..., None] = lambda **used: None
    deadline: float = float("inf")
    stopping: Callable[[], bool] = never
    action_id: UUID | None = None


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to. Not ok: ``code`` is a stable word, ``message`` says what to do, and nothing was changed
    unless ``probe`` says otherwise. The code ``precondition`` vouches that the target was compared, found changed, and
    not touched: it is believed without a probe. ``retryable`` means that trying the same thing again may help."""

    ok: bool
    code: str = ""
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    retryable: bool = False


class Probe(StrEnum):
    """Whether a step's effect is there: asked after a crash, when an intent has no receipt."""

    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@runtime_checkable
class Executor(Protocol):
    """The adapter of one action type. One instance serves all threads: keep no state in it.

    An executor may also have ``permission``: what it takes to propose this type where it lands, instead of ``propose``;
    and ``choices(parameters, target)``: for the form, what its text parameters can be as things stand, by their names,
    each a list of (value, words). It reads only, and what it cannot find out it leaves out.
    """

    name: str
    version: str  # part of the digest: raise it when the same plan would be carried out differently
    title: str
    description: str
    schema: dict[str, Any]  # JSON Schema 2020-12 of the parameters; title, description and x-widget draw the form
    security_level: str
    risk_class: str
    changes_something: bool

    def level_of(self, parameters: dict[str, Any]) -> str:
        """Return the security level of these parameters (low, medium, high, critical)."""

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        """Return every problem beyond the schema, at once. Pure or read-only; must not raise on schema-valid input."""

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        """Work out what would change, touching nothing. Deterministic on a still target. Raises PlanRefused."""

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        """Plan the inverse of an executed plan. Raises PlanRefused when the target has moved on since.

        What is restored must not stand in the steps (they are stored in clear): name the original step's key in
        ``spec`` and take the bytes from ``ctx.undone(key)`` in ``apply``.
        """

    def apply(self, ctx: StepContext) -> Outcome:
        """Carry out one step, comparing its precondition as it writes. Already done is ok (at most one effect)."""

    def probe(self, ctx: StepContext) -> Probe:
        """Say, read-only, whether the step's effect is there."""

    def compensate(self, ctx: StepContext) -> Outcome:
        """Undo one step. Already undone counts as ok; refuses what somebody else has changed since."""

    def probe_undo(self, ctx: StepContext) -> Probe:
        """Say, read-only, whether the step is undone."""

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        """Re-read the target after the run: one ``{"name", "ok", "detail"}`` per step."""

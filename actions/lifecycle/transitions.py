"""The table of moves and the page drawn from it; a transition: all that is written together for one action."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from actions.controls.quarantine import MAX_NAMED
from actions.controls.resource_locks import LockRequest
from actions.controls.sql import RUNNING
from actions.lifecycle.prediction_accuracy import accuracy_facts
from actions.models import Action, BeforeImage, JournalEntry, Plan, Quarantine
from actions.models.states import ACTIVE, ENDED, State
from approvals.models import Request
from audit.log.artifacts import ArtifactRows
from audit.log.events import ChainHead

INTENTS = (JournalEntry.Kind.INTENT, JournalEntry.Kind.UNDO_INTENT)


@dataclass(frozen=True)
class Move:
    sources: tuple[State, ...]
    target: State
    what: str


UNENDED = tuple(s for s in State if s not in ENDED)


MOVES: dict[str, Move] = {
    "preflight": Move((State.QUEUED,), State.PREFLIGHT, "a worker picks it up"),
    "deny": Move((State.PREFLIGHT,), State.DENIED, "a policy denies, or no matrix row matches"),
    "await_approval": Move(
        (State.PREFLIGHT,), State.AWAITING_APPROVAL, "required approvals to fill, or a diff to accept"
    ),
    "approve": Move(
        (State.PREFLIGHT, State.AWAITING_APPROVAL), State.APPROVED, "every required approval filled, or none needed"
    ),
    "reject": Move((State.AWAITING_APPROVAL,), State.REJECTED, "a person rejects"),
    "expire": Move((State.AWAITING_APPROVAL, State.APPROVED), State.EXPIRED, "not decided or not started in time"),
    "cancel": Move(
        (State.QUEUED, State.PREFLIGHT, State.AWAITING_APPROVAL, State.APPROVED),
        State.CANCELLED,
        "withdrawn before its start",
    ),
    "reopen": Move(
        (State.APPROVED,), State.AWAITING_APPROVAL, "drift or a stricter verdict at start, or an approval is withdrawn"
    ),
    "start": Move((State.APPROVED,), State.IN_PROGRESS, "plan unchanged; first intent"),
    "verify": Move((State.IN_PROGRESS,), State.VERIFYING, "every step has its receipt"),
    "complete": Move((State.VERIFYING,), State.COMPLETED, "checks passed, evidence attached"),
    "roll_back": Move(
        (State.IN_PROGRESS, State.VERIFYING, State.HELD, State.FAILED),
        State.ROLLING_BACK,
        "failure, abort, risk spike, or a person rolls it back",
    ),
    "finish_rollback": Move((State.ROLLING_BACK,), State.ROLLED_BACK, "the previous state is restored"),
    "hold": Move(
        (State.APPROVED, State.IN_PROGRESS, State.VERIFYING, State.ROLLING_BACK),
        State.HELD,
        "in doubt, undo failed, risk spike, frozen, or back at a checkpoint",
    ),
    "resume": Move((State.HELD,), State.IN_PROGRESS, "a person resumes it, or the environment is unfrozen"),
    "fail": Move(UNENDED, State.FAILED, "fatal error, or a person ends it"),
}


@dataclass
class Note:
    """An event that moves nothing: a receipt, a verdict, a lost lease."""

    verb: str
    facts: dict[str, Any] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    outcome: str = "ok"


@dataclass
class Transition:
    """
    Everything written together for one action: at most one move, its events, and its rows.

    `action` is the snapshot that it was decided on: state and seq are the guard. With `lease` the write is fenced: it
    matches only while that lease holds the action. `head` saves a read where the caller keeps the chain in memory.
    """

    action: Action
    verb: str = ""
    by: str = "system:execute"
    facts: dict[str, Any] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    outcome: str = "ok"
    notes: list[Note] = field(default_factory=list)
    sets: dict[str, Any] = field(default_factory=dict)
    ttl_s: int | None = None
    stop: bool = False
    release: bool = False
    lease: int | None = None
    head: ChainHead | None = None
    plan: Plan | None = None
    request: Request | None = None
    journal_entries: list[JournalEntry] = field(default_factory=list)
    before_images: list[BeforeImage] = field(default_factory=list)
    packs: list[ArtifactRows] = field(default_factory=list)
    quarantines: list[Quarantine] = field(default_factory=list)
    accuracy: dict[str, Any] | None = None
    """
    The prediction accuracy, if known (`actions.lifecycle.prediction_accuracy.measure_run`); part of its event's facts.
    """
    lock_requests: Sequence[LockRequest] = ()
    """The resource locks that the action needs from here on; without all of them it is deferred (`defer`)."""
    is_blocked: bool = False
    meant: tuple[Any, ...] | None = None
    """The fields before the deferral."""
    at: datetime | None = None
    epoch: int | None = None
    capped: bool | None = None
    """Whether a concurrency limit covers the action, as its worker knows; None: unknown."""
    admitted: bool = False
    """Whether the concurrency limits were counted and admit it."""

    def defer(self, facts: dict[str, Any]) -> None:
        """
        Turn this into the transition of a waiting action: an event that says for what, and the release of the lease.
        """
        self.meant = self.notes, self.verb, self.sets, self.journal_entries, self.before_images, self.release
        self.notes = [Note("action.waiting", facts)]
        self.verb, self.sets, self.journal_entries, self.before_images = "", {}, [], []
        self.release = self.is_blocked = True

    def undo_deferral(self) -> None:
        """Undo `defer`, for a transition that is committed again after its transaction failed."""
        if self.meant is not None:
            self.notes, self.verb, self.sets, self.journal_entries, self.before_images, self.release = self.meant
            self.meant, self.is_blocked = None, False

    @property
    def enters(self) -> bool:
        """Whether it starts an action that is not running."""
        return self.target in RUNNING and self.action.state not in RUNNING

    @property
    def begins(self) -> bool:
        """Whether it starts something, which a freeze refuses."""
        return self.enters or any(line.kind in INTENTS for line in self.journal_entries)

    @property
    def target(self) -> str:
        return MOVES[self.verb].target if self.verb else self.action.state

    def events(self) -> list[Note]:
        if not self.verb:
            return self.notes
        facts = {"from": str(self.action.state), "to": str(self.target), **self.facts}
        if self.accuracy is not None:
            facts["prediction_accuracy"] = accuracy_facts(self.accuracy)
        return [*self.notes, Note(f"action.{self.verb}", facts, self.private, self.artifacts, self.outcome)]


def quarantine_notes(quarantines: Sequence[Quarantine]) -> list[Note]:
    """The event of new quarantines; none without any."""
    if not quarantines:
        return []
    named = [{"kind": q.kind, "name": q.name} for q in quarantines[:MAX_NAMED]]
    facts = {"because": str(quarantines[0].because), "resources": named, "count": len(quarantines)}
    return [Note("quarantine.set", facts)]


# The page docs/state_machine.md, drawn from the table of moves.


DESCRIPTIONS = {
    State.QUEUED: "submitted, waits for a worker",
    State.PREFLIGHT: "planned and evaluated",
    State.DENIED: "denied by a policy or a missing matrix row",
    State.AWAITING_APPROVAL: "waits for people: required approvals to fill, or its requester to accept the diff",
    State.APPROVED: "waits for a worker, its start time, a resource lock, a concurrency limit, or a freeze",
    State.REJECTED: "rejected by a person",
    State.EXPIRED: "not decided or not started in time",
    State.CANCELLED: "withdrawn before its start",
    State.IN_PROGRESS: "steps run, each with intent, effect and receipt",
    State.VERIFYING: "every step is done; checks run",
    State.COMPLETED: "done, verified, with evidence",
    State.ROLLING_BACK: "compensations run in reverse order",
    State.ROLLED_BACK: "the previous state is restored",
    State.HELD: "waits for a person to resolve it; see the held reason",
    State.FAILED: "ended by an error, with what is known",
}


def render_page() -> str:
    """The whole page: chart, moves, states."""
    edges = [
        f"    {source} --> {move.target}: {verb}"
        for verb, move in MOVES.items()
        for source in ([] if verb == "fail" else move.sources)
    ]
    moves = [f"| `{verb}` | {_sources(move)} | {move.target} | {move.what} |" for verb, move in MOVES.items()]
    states = [f"| `{s}` | {_turn(s)} | {DESCRIPTIONS[s]} |" for s in State]
    return "\n".join(
        [
            "# How an action moves",
            "",
            "Drawn by `manage.py draw_state_machine` from `MOVES` in `actions/lifecycle/transitions.py`.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> queued: submit",
            *edges,
            *[f"    {s} --> [*]" for s in ENDED],
            "```",
            "",
            "`fail` leads from every live state to `failed`; it is omitted from the chart.",
            "",
            "## Moves",
            "",
            "| verb | from | to | when |",
            "|---|---|---|---|",
            *moves,
            "",
            "## States",
            "",
            "| state | whose turn | what it means |",
            "|---|---|---|",
            *states,
            "",
            "A move is one guarded `UPDATE` (state, sequence and lease must match), the rows that belong to it, and",
            "its event, in one transaction. Retrying an ended action, or undoing a completed one, makes a linked new",
            "action.",
            "",
        ]
    )


def _sources(move: Move) -> str:
    return "any live state" if move.sources == UNENDED else ", ".join(move.sources)


def _turn(state: State) -> str:
    if state in ENDED:
        return "nobody: ended"
    return "a worker" if state in ACTIVE else "a person"

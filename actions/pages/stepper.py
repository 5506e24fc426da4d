"""Where an action stands on its way, as six stations: what is done, what is now, what is to come."""

from dataclasses import dataclass

from actions.models import Action
from actions.states import State
from approvals.models import Request
from audit.templatetags.il import duration

S = State
AT_PREFLIGHT = (S.QUEUED, S.PREFLIGHT, S.DENIED)
AT_GATE = (S.AWAITING_APPROVAL, S.REJECTED)
ENDED_WELL = (S.COMPLETED,)


@dataclass(frozen=True)
class Station:
    """`look` is done, now or ahead; `glyph` a state's name; `hue` colours a station that is now."""

    title: str
    note: str
    look: str
    glyph: str
    hue: str = "hold"


def counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def stations_of(action: Action, request: Request | None, have: int, needed: int) -> list[Station]:
    """The stations of an action, with its request and how many required approvals are filled."""
    return [
        Station("Proposed", str(action.requester), "done", "completed"),
        _preflight(action),
        _gate(action, request, have, needed),
        _run(action),
        _verify(action),
        _end(action),
    ]


def _preflight(action: Action) -> Station:
    if action.state in AT_PREFLIGHT:
        hue = "bad" if action.state == S.DENIED else "run"
        words = {S.QUEUED: "waits for a worker", S.PREFLIGHT: "dry run", S.DENIED: "not allowed"}
        return Station("Preflight", words[S(action.state)], "now", action.state, hue)
    if action.plan is None:
        ended = action.state in (S.FAILED, S.CANCELLED)
        return Station(
            "Preflight", "no plan was made", "now" if ended else "ahead", "failed" if ended else "pending", "bad"
        )
    took = action.plan.created_at - action.created_at
    return Station("Preflight", f"plan v{action.plan.version}, {duration(took)}", "done", "completed")


def _gate(action: Action, request: Request | None, have: int, needed: int) -> Station:
    if action.plan is None or action.state in AT_PREFLIGHT:
        return Station("Approval", "", "ahead", "pending")
    title = "Acceptance" if request is not None and request.kind == "acceptance" else "Approval"
    if action.state == S.AWAITING_APPROVAL:
        note = "by its requester" if title == "Acceptance" else f"{have} of {counted(needed, 'approval')}"
        return Station(f"Hold: {title.lower()}", note, "now", S.AWAITING_APPROVAL)
    if action.state == S.REJECTED:
        return Station(title, "a person said no", "now", S.REJECTED, "bad")
    if action.approved_at is None:
        return Station(title, action.state.replace("_", " "), "now", action.state, "idle")
    if request is None:
        return Station("Approval", "no approval needed", "done", "skipped")
    return Station(
        title, "accepted" if title == "Acceptance" else f"{have} of {counted(needed, 'approval')}", "done", "completed"
    )


def _run(action: Action) -> Station:
    progress = f"{action.steps_done} of {counted(action.steps_total, 'step')}"
    if action.state == S.APPROVED:
        words = f"not before {action.not_before:%d %b %H:%M}" if action.not_before else "starts by itself"
        return Station("Run", words, "now", S.APPROVED, "ok")
    if action.approved_at and action.started_at is None:
        return Station("Run", "never began", "now", action.state, "idle")
    if action.started_at is None or action.approved_at is None:
        return Station("Run", counted(action.steps_total, "step") if action.steps_total else "", "ahead", "pending")
    if action.state in (S.IN_PROGRESS, S.ROLLING_BACK, S.HELD):
        hue = {S.IN_PROGRESS: "run", S.ROLLING_BACK: "warn", S.HELD: "hold"}[S(action.state)]
        return Station("Run", progress, "now", action.state, hue)
    undone = action.state in (S.ROLLED_BACK, S.FAILED)
    return Station(
        "Run", "undone" if action.state == S.ROLLED_BACK else progress, "done", "rolled_back" if undone else "completed"
    )


def _verify(action: Action) -> Station:
    checks = counted(len(action.checks), "check") if action.checks else "effects re-read"
    checks = "nothing to" if action.simulated else checks
    if action.state == S.VERIFYING:
        return Station("Verify", checks, "now", S.VERIFYING, "verify")
    if action.state == S.COMPLETED:
        return Station("Verify", "nothing to" if action.simulated else "everything holds", "done", "completed")
    failed = (action.error or {}).get("code") == "verification_failed"
    return Station(
        "Verify", "did not hold" if failed else checks, "done" if failed else "ahead", "failed" if failed else "pending"
    )


def _end(action: Action) -> Station:
    if action.state in ENDED_WELL:
        took = action.completed_at - action.started_at if action.completed_at and action.started_at else None
        return Station("Simulated" if action.simulated else "Completed", duration(took), "done", S.COMPLETED)
    if action.state in (S.ROLLED_BACK, S.FAILED) and action.started_at:
        hue = "warn" if action.state == S.ROLLED_BACK else "bad"
        return Station(action.state.replace("_", " ").capitalize(), "", "now", action.state, hue)
    return Station("Complete", "", "ahead", "pending")


def next_words(action: Action, missing: int) -> str:
    """What happens after this person's approval, in a sentence."""
    if missing > 1:
        return f"{missing - 1} more {'approval' if missing == 2 else 'approvals'} must be filled after yours."
    start = f"at {action.not_before:%d %b %H:%M} UTC" if action.not_before else "by itself"
    return f"Yours is the last one. The run starts {start}, and stops if the target has drifted from this plan."

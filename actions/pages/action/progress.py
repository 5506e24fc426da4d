"""Progress of an action in six stages: done, now, ahead."""

from dataclasses import dataclass

from actions.models import Action
from actions.models.states import State
from approvals.models import Request
from audit.templatetags.il import duration

S = State
AT_PREFLIGHT = (S.QUEUED, S.PREFLIGHT, S.DENIED)
AT_APPROVAL = (S.AWAITING_APPROVAL, S.REJECTED)
ENDED_WELL = (S.COMPLETED,)


@dataclass(frozen=True)
class ProgressStage:
    """`look` is done, now or ahead; `glyph` a state's name; `hue` colours the stage that is now."""

    title: str
    note: str
    look: str
    glyph: str
    hue: str = "hold"


def pluralize(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def build_stages(action: Action, request: Request | None, have: int, needed: int) -> list[ProgressStage]:
    """The stages of an action, with its request and how many required approvals are filled."""
    return [
        ProgressStage("Proposed", str(action.requester), "done", "completed"),
        _preflight(action),
        _approval(action, request, have, needed),
        _run(action),
        _verify(action),
        _end(action),
    ]


def _preflight(action: Action) -> ProgressStage:
    if action.state in AT_PREFLIGHT:
        hue = "bad" if action.state == S.DENIED else "run"
        words = {S.QUEUED: "waiting for a worker", S.PREFLIGHT: "dry run", S.DENIED: "not allowed"}
        return ProgressStage("Preflight", words[S(action.state)], "now", action.state, hue)
    if action.plan is None:
        ended = action.state in (S.FAILED, S.CANCELLED)
        return ProgressStage(
            "Preflight", "planning failed", "now" if ended else "ahead", "failed" if ended else "pending", "bad"
        )
    took = action.plan.created_at - action.created_at
    return ProgressStage("Preflight", f"plan v{action.plan.version}, {duration(took)}", "done", "completed")


def _approval(action: Action, request: Request | None, have: int, needed: int) -> ProgressStage:
    if action.plan is None or action.state in AT_PREFLIGHT:
        return ProgressStage("Approval", "", "ahead", "pending")
    title = "Acceptance" if request is not None and request.kind == "acceptance" else "Approval"
    if action.state == S.AWAITING_APPROVAL:
        note = "by its requester" if title == "Acceptance" else f"{have} of {pluralize(needed, 'approval')}"
        return ProgressStage(title, note, "now", S.AWAITING_APPROVAL)
    if action.state == S.REJECTED:
        return ProgressStage(title, "rejected", "now", S.REJECTED, "bad")
    if action.approved_at is None:
        return ProgressStage(title, action.state.replace("_", " "), "now", action.state, "idle")
    if request is None:
        return ProgressStage("Approval", "no approval needed", "done", "skipped")
    return ProgressStage(
        title,
        "accepted" if title == "Acceptance" else f"{have} of {pluralize(needed, 'approval')}",
        "done",
        "completed",
    )


def _run(action: Action) -> ProgressStage:
    progress = f"{action.steps_done} of {pluralize(action.steps_total, 'step')}"
    if action.state == S.APPROVED:
        words = f"not before {action.not_before:%d %b %H:%M}" if action.not_before else "starts automatically"
        return ProgressStage("Run", words, "now", S.APPROVED, "ok")
    if action.approved_at and action.started_at is None:
        return ProgressStage("Run", "not started", "now", action.state, "idle")
    if action.started_at is None or action.approved_at is None:
        return ProgressStage(
            "Run", pluralize(action.steps_total, "step") if action.steps_total else "", "ahead", "pending"
        )
    if action.state in (S.IN_PROGRESS, S.ROLLING_BACK, S.HELD):
        hue = {S.IN_PROGRESS: "run", S.ROLLING_BACK: "warn", S.HELD: "hold"}[S(action.state)]
        return ProgressStage("Run", progress, "now", action.state, hue)
    undone = action.state in (S.ROLLED_BACK, S.FAILED)
    return ProgressStage(
        "Run", "undone" if action.state == S.ROLLED_BACK else progress, "done", "rolled_back" if undone else "completed"
    )


def _verify(action: Action) -> ProgressStage:
    checks = pluralize(len(action.checks), "check") if action.checks else "effects re-read"
    checks = "simulated: none" if action.simulated else checks
    if action.state == S.VERIFYING:
        return ProgressStage("Verify", checks, "now", S.VERIFYING, "verify")
    if action.state == S.COMPLETED:
        return ProgressStage(
            "Verify", "simulated: none" if action.simulated else "all checks passed", "done", "completed"
        )
    failed = (action.error or {}).get("code") == "verification_failed"
    return ProgressStage(
        "Verify", "failed" if failed else checks, "done" if failed else "ahead", "failed" if failed else "pending"
    )


def _end(action: Action) -> ProgressStage:
    if action.state in ENDED_WELL:
        took = action.completed_at - action.started_at if action.completed_at and action.started_at else None
        return ProgressStage("Simulated" if action.simulated else "Completed", duration(took), "done", S.COMPLETED)
    if action.state in (S.ROLLED_BACK, S.FAILED) and action.started_at:
        hue = "warn" if action.state == S.ROLLED_BACK else "bad"
        return ProgressStage(action.state.replace("_", " ").capitalize(), "", "now", action.state, hue)
    return ProgressStage("Complete", "", "ahead", "pending")


def describe_next(action: Action, missing: int) -> str:
    """Say in a sentence what follows this person's approval."""
    if missing > 1:
        return f"{missing - 1} more {'approval' if missing == 2 else 'approvals'} required after yours."
    start = f"at {action.not_before:%d %b %H:%M} UTC" if action.not_before else "automatically"
    return f"Yours is the last one. The run starts {start}, and stops if the target has drifted from this plan."

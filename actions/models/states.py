"""The states of an action, and the reasons for which it is held. The moves are in `actions.lifecycle.transitions`."""

from enum import StrEnum


class State(StrEnum):
    QUEUED = "queued"
    PREFLIGHT = "preflight"
    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    IN_PROGRESS = "in_progress"
    VERIFYING = "verifying"
    COMPLETED = "completed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    HELD = "held"
    FAILED = "failed"


TO_DECIDE = ("queued", "preflight")
TO_EXECUTE = ("approved", "in_progress", "verifying", "rolling_back")
ACTIVE = TO_DECIDE + TO_EXECUTE
"""States in which a worker, not a person, has the next turn."""
LIVE = (*ACTIVE, "awaiting_approval", "held")
ENDED = ("denied", "rejected", "expired", "cancelled", "completed", "rolled_back", "failed")

SEED_VOCABULARY = {
    "awaiting_approval": "pending",
    "in_progress": "executing",
    "preflight": "validating",
}
"""Names of the source texts for our states; the API returns them when it is asked for `?vocabulary=seed`."""


class HeldReason(StrEnum):
    """Why an action is held, with a label and the next step for an operator. `next_steps` has the proposals."""

    label: str
    help: str

    def __new__(cls, value: str, label: str = "", help_text: str = "") -> "HeldReason":
        member = str.__new__(cls, value)
        member._value_, member.label, member.help = value, label, help_text
        return member

    IN_DOUBT = (
        "in_doubt",
        "in doubt",
        "Unknown whether a step took effect. An operator must check the target, then record the outcome.",
    )
    ROLLBACK_FAILED = (
        "rollback_failed",
        "undo failed",
        "Undo of a step failed. An operator must repair the target and retry, or end the action as failed.",
    )
    RISK_SPIKE = (
        "risk_spike",
        "risk spike",
        "A check failed during the run. An operator must find the cause, then resume or roll back.",
    )
    BREAKER = ("breaker", "circuit breaker", "The target kept failing. An operator must check it, then resume.")
    EXECUTOR_MISSING = (
        "executor_missing",
        "executor missing",
        "The action type is not installed on the workers. An admin must install it, then an operator resumes.",
    )
    INTERNAL_ERROR = (
        "internal_error",
        "internal error",
        "Interlock met an internal error. An operator must check the target, then resume or roll back.",
    )
    POLICY = ("policy", "policy", "The policies no longer allow it. An operator must roll it back, or resume it later.")
    REPLANS = (
        "replans",
        "keeps drifting",
        "The target kept drifting, so the run never started. An operator must end it as failed; then propose it again.",
    )
    FREEZE = ("freeze", "environment frozen", "The environment is frozen. The run resumes when it is unfrozen.")
    OPERATOR = ("operator", "held by a person", "A person held it. An operator must resume it.")
    CHECKPOINT = (
        "checkpoint",
        "back at a checkpoint",
        "Rolled back to a checkpoint. An operator must resume it, roll it back completely, or end it as failed.",
    )
    QUARANTINE = (
        "quarantine",
        "in quarantine",
        "A resource of the undo is quarantined. It must be cleared first, then an operator resumes the action.",
    )

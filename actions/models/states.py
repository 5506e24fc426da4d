"""The states an action can be in. The moves between them are in `actions.lifecycle.commit`."""

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

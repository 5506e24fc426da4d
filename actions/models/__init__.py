from actions.models.action import Action, IdempotencyKey
from actions.models.backtest import Backtest, BacktestDifference
from actions.models.handoff import Delivery, HandoffRule, Ticket, Webhook
from actions.models.impact import Impact
from actions.models.ledger import BeforeImage, Checkpoint, Lease
from actions.models.plan import Plan
from actions.models.quarantine import Quarantine
from actions.models.recovery import Breaker, RetryBucket
from actions.models.resource_claim import ResourceClaim
from actions.models.said import Said
from actions.models.scheduling import Cap, EnvironmentHold, Node

__all__ = [
    "Action",
    "Backtest",
    "BacktestDifference",
    "BeforeImage",
    "Breaker",
    "Cap",
    "Checkpoint",
    "Delivery",
    "EnvironmentHold",
    "HandoffRule",
    "IdempotencyKey",
    "Impact",
    "Lease",
    "Node",
    "Plan",
    "Quarantine",
    "ResourceClaim",
    "RetryBucket",
    "Said",
    "Ticket",
    "Webhook",
]

from actions.models.action import Action, IdempotencyKey, Plan, PredictionAccuracy
from actions.models.backtest import Backtest, BacktestDifference
from actions.models.controls import (
    CircuitBreaker,
    ConcurrencyLimit,
    Freeze,
    Node,
    Quarantine,
    ResourceLock,
    RetryBudget,
)
from actions.models.incident import Delivery, Incident, IncidentRule, Webhook
from actions.models.journal import BeforeImage, JournalEntry, Lease, LogLine

__all__ = [
    "Action",
    "Backtest",
    "BacktestDifference",
    "BeforeImage",
    "CircuitBreaker",
    "ConcurrencyLimit",
    "JournalEntry",
    "Delivery",
    "Freeze",
    "IncidentRule",
    "IdempotencyKey",
    "PredictionAccuracy",
    "Lease",
    "Node",
    "Plan",
    "Quarantine",
    "ResourceLock",
    "RetryBudget",
    "LogLine",
    "Incident",
    "Webhook",
]

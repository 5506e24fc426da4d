from actions.models.action import Action, IdempotencyKey
from actions.models.ledger import BeforeImage, Checkpoint, Lease
from actions.models.plan import Plan

__all__ = ["Action", "BeforeImage", "Checkpoint", "IdempotencyKey", "Lease", "Plan"]

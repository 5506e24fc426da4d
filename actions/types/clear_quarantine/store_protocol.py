"""Who keeps the quarantines. Told from outside, because executors know no model of the floor that they belong to."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from actions.types.protocol import PlanRefused, error


@dataclass(frozen=True)
class QuarantineRecord:
    """A quarantine as it is now. `standing`: in_force or cleared; `held_by`: the action that has yet to be settled."""

    id: UUID
    environment_id: UUID
    environment: str
    kind: str
    name: str
    because: str
    since: str
    standing: str
    cleared_by: UUID | None = None
    held_by: UUID | None = None


class QuarantineStore(Protocol):
    """Reads and changes quarantines, each in a transaction of its own, from any thread with a connection."""

    def find(self, tenant_id: UUID, quarantine_id: UUID) -> QuarantineRecord | None:
        """The quarantine of this tenant."""

    def clear(self, tenant_id: UUID, quarantine_id: UUID, action_id: UUID | None, key: str) -> bool:
        """Clear it for this action; False if it was cleared by this action already. Raises Problem if by another."""

    def put_back(self, tenant_id: UUID, quarantine_id: UUID, action_id: UUID | None, key: str) -> bool:
        """Put back what this action cleared; False if it is in force. Raises Problem if somebody else's is."""


_stores: list[QuarantineStore] = []


def register_quarantine_store(keeper: QuarantineStore) -> None:
    """Say who keeps them."""
    _stores[:] = [keeper]


def quarantine_store() -> QuarantineStore:
    """Whoever keeps them. Raises PlanRefused where nobody does: then nothing is cleared."""
    if not _stores:
        raise PlanRefused([error("No quarantine keeper is configured, so none can be cleared.", "quarantine")])
    return _stores[0]

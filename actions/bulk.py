"""Decide several actions in one go: each by itself, under its own lock, with its own event."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from actions.models import Action
from actions.verbs import approve, find
from approvals.errors import DigestNeeded
from approvals.quorum.eligibility import MAX_BULK, bulk_below, require_bulk_allowed
from audit.errors import Invalid, Problem
from tenants.access import Access


@dataclass(frozen=True)
class Decided:
    """What came of one of many: the action as it is now, or the problem and the id that was sent."""

    sent: str
    action: Action | None = None
    problem: Problem | None = None


def decide_many(
    access: Access, chosen: Sequence[tuple[str, str]], *, approved: bool, comment: str, correlation_id: str = ""
) -> list[Decided]:
    """Approve or reject these (action id, digest of the plan that was shown), in order.

    Raises Invalid for none or too many; whatever is wrong with a single one is its own result.
    """
    if not 1 <= len(chosen) <= MAX_BULK:
        words = f"Choose between 1 and {MAX_BULK} requests; these are {len(chosen)}."
        raise Invalid(words, issues=[{"severity": "error", "message": words, "field": "items"}])
    below = bulk_below(access.tenant.pk)
    return [_one(access, sent, digest, below, approved, comment, correlation_id) for sent, digest in chosen]


def _one(
    access: Access, sent: str, digest: str, below: str, approved: bool, comment: str, correlation_id: str
) -> Decided:
    action = None
    try:
        action = find(access, sent)
        require_bulk_allowed(below, action.tier)
        if not digest:
            raise DigestNeeded
        done = approve(access, UUID(str(action.pk)), approved, digest, comment, correlation_id=correlation_id)
        return Decided(sent, done)
    except Problem as problem:
        return Decided(sent, action, problem)

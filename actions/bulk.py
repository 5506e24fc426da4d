"""Decide several actions in one go: each by itself, under its own lock, with its own event."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from actions.models import Action
from actions.verbs import approve, find
from approvals.bulk import MOST, bulk_below, refuse_unless_bulk
from approvals.errors import DigestNeeded
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
    if not 1 <= len(chosen) <= MOST:
        words = f"Choose between 1 and {MOST} requests; these are {len(chosen)}."
        raise Invalid(words, issues=[{"severity": "error", "message": words, "field": "items"}])
    below = bulk_below(access.tenant.pk)
    return [_one(access, sent, digest, below, approved, comment, correlation_id) for sent, digest in chosen]


def _one(
    access: Access, sent: str, digest: str, below: str, approved: bool, comment: str, correlation_id: str
) -> Decided:
    action = None
    try:
        action = find(access, sent)
        refuse_unless_bulk(below, action.tier)
        if not digest:
            raise DigestNeeded
        done = approve(access, UUID(str(action.pk)), approved, digest, comment, correlation_id=correlation_id)
        return Decided(sent, done)
    except Problem as problem:
        return Decided(sent, action, problem)

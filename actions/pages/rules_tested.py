"""Where a draft stands with its backtest, as the editors show it."""

from typing import Any
from uuid import UUID

from actions.rehearsal.gate import in_words, standing_of


def tested(kind: str, draft_id: UUID) -> dict[str, Any]:
    """{"words", "is_good", "address"}: whether it may be proposed as far as backtests go, and where to look."""
    standing = standing_of(kind, draft_id)
    words = standing.words
    if standing.may and standing.backtest is not None:
        moved = " Other rules changed since: it may come out otherwise by now." if standing.rules_changed else ""
        words = in_words(standing.backtest) + moved
    return {"words": words, "is_good": standing.may, "address": f"/rules/{kind}/{draft_id}/backtest/"}

"""The gate before rules: nothing is published that was not backtested, whole, in exactly this wording, and lately."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from actions.errors import BacktestNeeded
from actions.models.backtest import Backtest
from actions.rehearsal.candidate import digest_now
from actions.rehearsal.compare import KINDS
from approvals.policies.active_policies import epoch_of
from audit.database.clock import database_time

GOOD_FOR = timedelta(days=7)
ADDRESSES = {
    "policy": "POST /api/policies/drafts/{draft}/backtest",
    "retire": 'POST /api/policies/drafts/{draft}/backtest with {{"retire": true}}',
    "matrix": "POST /api/matrix/drafts/{draft}/backtest",
}


@dataclass(frozen=True)
class Standing:
    """Whether a draft may be proposed as far as backtests go, and if not, why not, in words."""

    may: bool
    words: str
    backtest: Backtest | None = None
    rules_changed: bool = False
    """Whether other rules changed since: it still counts, but may come out otherwise by now."""

    @property
    def found(self) -> str:
        """What the backtest that counts found, in a sentence; empty without one."""
        return in_words(self.backtest) if self.may and self.backtest else ""


def latest(kind: str, draft_id: UUID) -> Backtest | None:
    """The last backtest of a draft that was started, whatever became of it."""
    return Backtest.objects.filter(kind=kind, draft=draft_id).order_by("-pk").first()


def standing_of(kind: str, draft_id: UUID) -> Standing:
    """Where a draft stands with its backtests. Four queries at most."""
    digest = digest_now(kind, draft_id)
    ended = Backtest.objects.filter(kind=kind, draft=draft_id, state="finished").order_by("-finished_at")
    found = ended.filter(digest=digest).first()
    if found is not None and found.finished_at is not None:
        if found.finished_at < database_time() - GOOD_FOR:
            return Standing(False, f"Its backtest is more than {GOOD_FOR.days} days old. Run it again.", found)
        moved = epoch_of(found.tenant_id) != found.epoch
        return Standing(True, "It was backtested in exactly this wording.", found, moved)
    last = latest(kind, draft_id)
    if last is None:
        return Standing(False, "It was not backtested yet.")
    if last.is_under_way:
        return Standing(False, "Its backtest is under way. Wait until it has finished.", last)
    if last.digest != digest:
        return Standing(False, "It was changed since it was backtested. Run the backtest again.", last)
    return Standing(False, "Its backtest was cancelled before it had finished. Run it again.", last)


def require_backtest(kind: str, draft_id: UUID) -> Backtest:
    """A finished backtest of what this draft says now, seven days old at most. Raises BacktestNeeded with a remedy."""
    standing = standing_of(kind, draft_id)
    if not standing.may or standing.backtest is None:
        page, call = f"/rules/{kind}/{draft_id}/backtest/", ADDRESSES[kind].format(draft=draft_id)
        raise BacktestNeeded(
            f"{standing.words} Rules are published only after a backtest of exactly their wording: {page}",
            remedies=[f"Run it at {page}, or by {call}; then propose this again."],
            backtest=page,
        )
    return standing.backtest


def told(kind: str, draft_id: UUID) -> dict[str, Any]:
    """What those who approve a change of rules should know of its backtest: plain values, and `words`, a sentence.

    Raises BacktestNeeded.
    """
    found = require_backtest(kind, draft_id)
    counts = found.counts.get("draft", {})
    return {
        "id": str(found.pk),
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "done": found.done,
        "otherwise": found.otherwise,
        "kinds": counts,
        "words": in_words(found),
    }


def in_words(backtest: Backtest) -> str:
    """A backtest in a sentence."""
    counts = backtest.counts.get("draft", {})
    actions = f"{backtest.done:,} judged action{'' if backtest.done == 1 else 's'}"
    period = f"{actions} from {_day(backtest.since)} to {_day(backtest.until)}"
    if not counts:
        return f"Backtest over {period}: none would have gone otherwise."
    parts = ", ".join(f"{n:,} {KINDS.get(kind, kind)}" for kind, n in sorted(counts.items()))
    return f"Backtest over {period}: {backtest.otherwise:,} would have gone otherwise ({parts})."


def _day(at: Any) -> str:
    return f"{at:%d %b %Y}"

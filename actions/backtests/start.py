"""Start, find and cancel backtests, and require one before rules are published."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from actions.backtests.draft_rules import DraftRules, digest_now, load_draft
from actions.backtests.evaluate import KINDS
from actions.controls.worker_queues import wake_up
from actions.errors import BacktestNeeded, BacktestUnderWay, WrongState
from actions.models.backtest import UNDER_WAY, Backtest, BacktestDifference
from approvals.policies.active_policies import epoch_of
from approvals.policies.permissions import require_may_change_matrix, require_may_change_policies
from approvals.policies.subjects import matrix_subject
from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from tenants.access import Access

__all__ = [
    "cancel_backtest",
    "differences_of",
    "find_backtest",
    "latest_backtest",
    "require_backtest",
    "start_backtest",
    "backtest_subject",
]
USUAL_DAYS = 30
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_DIFFERENCES = 5_000
"""Differences stored per backtest and reason; further ones are only counted."""


def start_backtest(
    access: Access,
    kind: str,
    draft_id: UUID,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    correlation_id: str = "",
) -> Backtest:
    """
    Start a backtest of a draft over the actions created from `since` (30 days ago) until `until` (now).

    The compared rules are fixed now. Event `backtest.started` on the policy or matrix. Raises what `load_draft` raises,
    Invalid for an invalid period, BacktestUnderWay.
    """
    candidate = load_draft(access, kind, draft_id)
    since, until = period_of(since, until)
    try:
        with transaction.atomic():
            made = _create(candidate, access, since, until)
            facts = {**_facts(made), "since": since.isoformat(), "until": until.isoformat()}
            _record(made, "backtest.started", str(access.principal.pk), facts, correlation_id)
            transaction.on_commit(partial(wake_up, "background"))
    except IntegrityError:
        raise BacktestUnderWay from None
    return made


def period_of(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """The complete period: ends now at the latest. Raises Invalid, naming the field."""
    now = database_time()
    until = max(min(until or now, now), EARLIEST)
    since = max(since or until - timedelta(days=USUAL_DAYS), EARLIEST)
    if since >= until:
        message = "The period must start before it ends, and in the past."
        raise Invalid(message, issues=[{"severity": "error", "message": message, "field": "since"}])
    return since, until


def find_backtest(access: Access, backtest_id: UUID) -> Backtest:
    """A backtest that the caller may see: whoever may edit its draft. Raises NotFound, MayNotChangeRules."""
    found = Backtest.objects.filter(pk=backtest_id, tenant=access.tenant).select_related("by", "tenant").first()
    if found is None:
        raise NotFound
    if found.environment_id:
        require_may_change_matrix(access, found.tenant_id, found.environment_id)
    else:
        require_may_change_policies(access, found.tenant)
    return found


def cancel_backtest(access: Access, backtest_id: UUID, *, correlation_id: str = "") -> Backtest:
    """Cancel a backtest; its results so far are kept. Event `backtest.cancelled`."""
    found = find_backtest(access, backtest_id)
    with transaction.atomic():
        ended = Backtest.objects.filter(pk=found.pk, state__in=UNDER_WAY)
        if not ended.update(state="cancelled", claim=None, claimed_until=None, finished_at=database_time()):
            raise WrongState("This backtest has ended; there is nothing to cancel.")
        found.refresh_from_db()
        facts = {**_facts(found), "done": found.done}
        _record(found, "backtest.cancelled", str(access.principal.pk), facts, correlation_id)
    return found


def differences_of(
    access: Access, backtest: Backtest, because: str, *, after: int = 0, kind: str = ""
) -> QuerySet[BacktestDifference]:
    """Its differences in order, after one of them by id, in environments that the caller may view."""
    places = access.environments_where("view")
    found = backtest.differences.filter(because=because, pk__gt=after, environment__in=places)
    found = found.filter(kind=kind) if kind else found
    return found.select_related("action", "environment").order_by("pk")


def backtest_subject(backtest: Backtest) -> Subject:
    """The policy or matrix of the backtest."""
    return matrix_subject(backtest.subject) if backtest.kind == "matrix" else Subject("policy", backtest.subject)


def record_finished(backtest: Backtest, by: str) -> None:
    """Record the end of a backtest, in the transaction that ends it."""
    facts = {**_facts(backtest), "done": backtest.done, "counts": backtest.counts}
    _record(backtest, "backtest.finished", by, facts, "")


def _create(candidate: DraftRules, access: Access, since: datetime, until: datetime) -> Backtest:
    rule = candidate.rule.expression if candidate.rule else ""
    basis = {"today": candidate.today.as_dict(), "then": candidate.then.as_dict(), "rule": rule}
    return Backtest.objects.create(
        tenant_id=candidate.tenant_id,
        environment=candidate.environment,
        kind=candidate.kind,
        draft=candidate.draft,
        subject=candidate.subject.id,
        title=candidate.title[:200],
        digest=candidate.digest,
        epoch=candidate.epoch,
        basis=basis,
        since=since,
        until=until,
        by=access.principal,
    )


def _facts(backtest: Backtest) -> dict[str, Any]:
    return {
        "backtest": str(backtest.pk),
        "kind": backtest.kind,
        "draft": str(backtest.draft),
        "digest": backtest.digest,
    }


def _record(backtest: Backtest, verb: str, by: str, facts: dict[str, Any], correlation_id: str) -> None:
    entry = NewEvent(
        backtest.tenant_id, backtest_subject(backtest), verb, by, correlation_id=correlation_id, facts=facts
    )
    record(entry)


# Required backtests: a draft is published only after a complete, recent backtest of exactly its wording.


GOOD_FOR = timedelta(days=7)
ADDRESSES = {
    "policy": "POST /api/policies/drafts/{draft}/backtest",
    "retire": 'POST /api/policies/drafts/{draft}/backtest with {{"retire": true}}',
    "matrix": "POST /api/matrix/drafts/{draft}/backtest",
}


@dataclass(frozen=True)
class BacktestStatus:
    """Whether the backtest of a draft allows its proposal, and if not, why."""

    may: bool
    words: str
    backtest: Backtest | None = None
    rules_changed: bool = False
    """Whether other rules changed since: it still counts, but its results may differ now."""

    @property
    def found(self) -> str:
        """The result of the valid backtest, in a sentence; empty without one."""
        return describe_backtest(self.backtest) if self.may and self.backtest else ""


def latest_backtest(kind: str, draft_id: UUID) -> Backtest | None:
    """The newest backtest of a draft, in any state."""
    return Backtest.objects.filter(kind=kind, draft=draft_id).order_by("-pk").first()


def backtest_status(kind: str, draft_id: UUID) -> BacktestStatus:
    """The backtest status of a draft. Four queries at most."""
    digest = digest_now(kind, draft_id)
    ended = Backtest.objects.filter(kind=kind, draft=draft_id, state="finished").order_by("-finished_at")
    found = ended.filter(digest=digest).first()
    if found is not None and found.finished_at is not None:
        if found.finished_at < database_time() - GOOD_FOR:
            return BacktestStatus(False, f"The backtest is more than {GOOD_FOR.days} days old. Run it again.", found)
        moved = epoch_of(found.tenant_id) != found.epoch
        return BacktestStatus(True, "Backtested with exactly this text.", found, moved)
    last = latest_backtest(kind, draft_id)
    if last is None:
        return BacktestStatus(False, "Not backtested yet.")
    if last.is_under_way:
        return BacktestStatus(False, "The backtest is running. Wait until it finishes.", last)
    if last.digest != digest:
        return BacktestStatus(False, "The draft changed since its backtest. Run the backtest again.", last)
    return BacktestStatus(False, "The backtest was cancelled. Run it again.", last)


def require_backtest(kind: str, draft_id: UUID) -> Backtest:
    """
    The finished backtest of this draft's current wording, seven days old at most. Raises BacktestNeeded with a remedy.
    """
    standing = backtest_status(kind, draft_id)
    if not standing.may or standing.backtest is None:
        page, call = f"/policies/{kind}/{draft_id}/backtest/", ADDRESSES[kind].format(draft=draft_id)
        raise BacktestNeeded(
            f"{standing.words} Policies are published only after a backtest of exactly their text: {page}",
            remedies=[f"Run it at {page}, or by {call}; then propose this again."],
            backtest=page,
        )
    return standing.backtest


def backtest_facts(kind: str, draft_id: UUID) -> dict[str, Any]:
    """
    The backtest of a change of rules, for its approvers: plain values, and `words`, a sentence.

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
        "words": describe_backtest(found),
    }


def describe_backtest(backtest: Backtest) -> str:
    """A backtest in a sentence."""
    counts = backtest.counts.get("draft", {})
    actions = f"{backtest.done:,} evaluated action{'' if backtest.done == 1 else 's'}"
    period = f"{actions} from {_day(backtest.since)} to {_day(backtest.until)}"
    if not counts:
        return f"Backtest over {period}: no changed outcomes."
    parts = ", ".join(f"{n:,} {KINDS.get(kind, kind)}" for kind, n in sorted(counts.items()))
    changed = f"{backtest.otherwise:,} changed outcome{'' if backtest.otherwise == 1 else 's'}"
    return f"Backtest over {period}: {changed} ({parts})."


def _day(at: Any) -> str:
    return f"{at:%d %b %Y}"

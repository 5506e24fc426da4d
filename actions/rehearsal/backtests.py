"""Backtests of drafts: started, looked at and cancelled by who may draft. `actions.rehearsal.work` carries them on."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from actions.errors import BacktestUnderWay, WrongState
from actions.models.backtest import UNDER_WAY, Backtest, BacktestDifference
from actions.nudge import nudge
from actions.rehearsal.candidate import Candidate, candidate_for
from actions.rehearsal.gate import latest, require_backtest
from approvals.policies.permissions import require_may_change_matrix, require_may_change_policies
from approvals.policies.subjects import matrix_subject
from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from tenants.access import Access

__all__ = ["cancel", "differences_of", "find_backtest", "latest", "require_backtest", "start", "subject_of"]
USUAL_DAYS = 30
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MOST_DIFFERENCES = 5_000
"""Rows kept per backtest and reason; the rest is only counted."""


def start(
    access: Access,
    kind: str,
    draft_id: UUID,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    correlation_id: str = "",
) -> Backtest:
    """Begin a backtest of a draft over the actions created from `since` (30 days ago) until `until` (now).

    What is compared is fixed now. Event `backtest.started` on the policy or matrix. Raises what `candidate_for` raises,
    Invalid for a period that is none, BacktestUnderWay.
    """
    candidate = candidate_for(access, kind, draft_id)
    since, until = period_of(since, until)
    try:
        with transaction.atomic():
            made = _made(candidate, access, since, until)
            facts = {**_facts(made), "since": since.isoformat(), "until": until.isoformat()}
            _record(made, "backtest.started", str(access.principal.pk), facts, correlation_id)
            transaction.on_commit(partial(nudge, "background"))
    except IntegrityError:
        raise BacktestUnderWay from None
    return made


def period_of(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """The period asked for, whole: ends now at the latest. Raises Invalid, naming the field."""
    now = database_time()
    until = max(min(until or now, now), EARLIEST)
    since = max(since or until - timedelta(days=USUAL_DAYS), EARLIEST)
    if since >= until:
        message = "A period begins before it ends, and in the past."
        raise Invalid(message, issues=[{"severity": "error", "message": message, "field": "since"}])
    return since, until


def find_backtest(access: Access, backtest_id: UUID) -> Backtest:
    """A backtest that the caller may see: whoever may draft what it is about. Raises NotFound, NotYoursToRule."""
    found = Backtest.objects.filter(pk=backtest_id, tenant=access.tenant).select_related("by", "tenant").first()
    if found is None:
        raise NotFound
    if found.environment_id:
        require_may_change_matrix(access, found.tenant_id, found.environment_id)
    else:
        require_may_change_policies(access, found.tenant)
    return found


def cancel(access: Access, backtest_id: UUID, *, correlation_id: str = "") -> Backtest:
    """Stop a backtest for good; what it found so far stays to be looked at. Event `backtest.cancelled`."""
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
    """Its differences in order, after one of them by id: of the environments that the caller may view."""
    places = access.environments_where("view")
    found = backtest.differences.filter(because=because, pk__gt=after, environment__in=places)
    found = found.filter(kind=kind) if kind else found
    return found.select_related("action", "environment").order_by("pk")


def subject_of(backtest: Backtest) -> Subject:
    """The policy or the matrix that it is about."""
    return matrix_subject(backtest.subject) if backtest.kind == "matrix" else Subject("policy", backtest.subject)


def finished(backtest: Backtest, by: str) -> None:
    """Record the end of a backtest, in the transaction that ends it."""
    facts = {**_facts(backtest), "done": backtest.done, "counts": backtest.counts}
    _record(backtest, "backtest.finished", by, facts, "")


def _made(candidate: Candidate, access: Access, since: datetime, until: datetime) -> Backtest:
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
    entry = NewEvent(backtest.tenant_id, subject_of(backtest), verb, by, correlation_id=correlation_id, facts=facts)
    record(entry)

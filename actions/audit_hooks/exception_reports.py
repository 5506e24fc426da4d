"""Reports on exceptions: policy exceptions, and failed verifications."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from actions.audit_hooks.change_reports import describe_exception
from actions.models import PredictionAccuracy
from audit.auditor.reports.registry import Column, Report, ReportScope, Row
from audit.changes.masking import visible
from audit.log.query import read_envelope
from audit.log.subjects import actor_names, describe_subjects, environment_names
from audit.models import Event
from audit.models.auditor import IndexedEvent

BATCH = 500
ON_CHANGES = (
    "action.approve",
    "action.reopen",
    "action.hold",
    "action.break_glass",
    "action.deny",
    "approval.refused",
    "approval.withdrawn",
    "approval.change_request_lapsed",
    "preflight.drifted",
)
ON_RULES = {
    "policy.published": "a policy was published",
    "policy.retired": "a policy was retired",
    "policy.recovered": "a policy was disabled by a recovery command",
    "matrix.recovered": "the matrix was reset by a recovery command",
    "matrix.row_added": "a row of the matrix was added",
    "matrix.row_changed": "a row of the matrix was changed",
    "matrix.row_removed": "a row of the matrix was removed",
    "blast_weights.changed": "the blast weights were changed",
    "principal.made_admin": "a person was made an admin by a recovery command",
    "role.granted": "the permissions of a role were changed",
    "quarantine.cleared": "a quarantine was cleared",
}


def exception_rows(wanted: ReportScope) -> Iterator[Row | None]:
    """The rows, in the order of the log. The index finds the events; the events say what happened."""
    places, after = environment_names(wanted.tenant), 0
    while True:
        found = _exception_batch(wanted, after)
        if not found:
            return
        after = found[-1].pk
        events = {event.pk: event for event in Event.objects.filter(pk__in=[it.pk for it in found])}
        subjects = describe_subjects(wanted.tenant, events.values())
        names = actor_names(wanted.tenant, {event.actor for event in events.values()})
        for it in found:
            yield None
            event = events.get(it.pk)
            if event is not None and (words := _words(event)):
                yield {
                    "at": event.at,
                    "what": visible(words),
                    "who": visible(names[event.actor]),
                    "kind": event.subject_kind,
                    "subject": visible(subjects[event.subject_id].title or str(event.subject_id)),
                    "environment": places.get(it.environment, "") if it.environment else "",
                    "verb": event.verb,
                    "event": event.seq,
                    "id": str(event.subject_id),
                    "hash": bytes(event.hash).hex()[:16],
                }


def _exception_batch(wanted: ReportScope, after: int) -> list[IndexedEvent]:
    found = IndexedEvent.objects.filter(tenant=wanted.tenant, event__gt=after, verb__in=[*ON_CHANGES, *ON_RULES])
    if wanted.since and wanted.until:
        found = found.filter(at__gte=wanted.since, at__lt=wanted.until)
    if wanted.environment:
        found = found.filter(environment=wanted.environment)
    return list(found.order_by("event")[:BATCH])


def _words(event: Event) -> str:
    facts: dict[str, Any] = read_envelope(event).get("facts") or {}
    return ON_RULES.get(event.verb) or describe_exception(event.verb, event.outcome, facts)


EXCEPTIONS_REPORT = Report(
    kind="policy_exceptions",
    title="Policy exceptions",
    question="Which changes were exceptions, and when did the rules themselves change?",
    columns=(
        Column("at", "When", 3),
        Column("what", "What", 8),
        Column("subject", "About", 6),
        Column("environment", "Where", 2),
        Column("who", "Who", 3),
        Column("verb", "Event", 4),
        Column("event", "#", 1),
        Column("hash", "Hash", 3),
        Column("kind", "Kind", 2),
        Column("id", "Id", 5),
    ),
    rows=exception_rows,
    looked_at="events",
    shows="Changes that ran without a person's approval, with the reason; refused decisions; approvals withdrawn or "
    "made void by drift; held and denied changes; uses of break-glass; and every change of policies, matrix, weights "
    "and permissions of roles. Each with the event that recorded it.",
    shows_not="Whether an exception was justified: the reason is in the evidence pack of the change. Rules of the "
    "whole tenant, if you choose an environment.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
)


# Failed verifications.


def verification_rows(wanted: ReportScope) -> Iterator[Row | None]:
    """The rows, in the order of their end. All verified runs are read; only failed ones are rows."""
    after: tuple[datetime, UUID] | None = None
    while True:
        found = _verification_batch(wanted, after)
        if not found:
            return
        for it in found:
            yield None
            if it.checks_failed:
                yield _verification_row(it)
        assert found[-1].ended_at is not None
        after = found[-1].ended_at, found[-1].pk


def _verification_batch(wanted: ReportScope, after: tuple[datetime, UUID] | None) -> list[PredictionAccuracy]:
    found = PredictionAccuracy.objects.filter(
        action__tenant=wanted.tenant, checks__isnull=False, ended_at__isnull=False
    )
    if wanted.environment:
        found = found.filter(environment=wanted.environment)
    if wanted.since and wanted.until:
        found = found.filter(ended_at__gte=wanted.since, ended_at__lt=wanted.until)
    if after:
        found = found.filter(Q(ended_at__gt=after[0]) | Q(ended_at=after[0], pk__gt=after[1]))
    return list(found.select_related("action__requester", "environment").order_by("ended_at", "pk")[:BATCH])


def _verification_row(it: PredictionAccuracy) -> Row:
    return {
        "ended_at": it.ended_at,
        "title": visible(it.action.title),
        "type": it.type,
        "environment": it.environment.slug,
        "tier": it.tier,
        "requested_by": visible(str(it.action.requester)),
        "failed": it.checks_failed,
        "checks": it.checks,
        "predicted": it.predicted_changes,
        "verified": it.verified_changes,
        "state": it.state,
        "id": str(it.action_id),
    }


VERIFICATIONS_REPORT = Report(
    kind="failed_verifications",
    title="Failed verifications",
    question="Which changes failed the verification after their last step?",
    columns=(
        Column("ended_at", "Ended at", 3),
        Column("title", "Change", 6),
        Column("type", "Type", 3),
        Column("environment", "Where", 2),
        Column("tier", "Tier", 2),
        Column("requested_by", "Requested by", 3),
        Column("failed", "Checks failed", 2),
        Column("checks", "of", 1),
        Column("predicted", "Changes planned", 2),
        Column("verified", "found", 2),
        Column("state", "Result", 3),
        Column("id", "Id", 5),
    ),
    rows=verification_rows,
    looked_at="verified runs",
    shows="Runs that ended in the period after their verification, of which at least one check failed, and their "
    "result: rolled back, failed, or completed after a person resolved it.",
    shows_not="Changes that failed before their verification, and checks that nobody configured. The "
    "verification report of each change is in its evidence pack.",
    controls=("CC8.1", "CM-3", "6.5"),
)

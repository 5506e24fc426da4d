"""Policy exceptions: every departure from the ordinary way of a change, and every change of the rules themselves."""

from collections.abc import Iterator
from typing import Any

from actions.reports.life import exception_in
from audit.auditor.reports.registry import Column, Report, ReportScope, Row
from audit.changes.visible import visible
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
    "policy.published": "a policy was put in force",
    "policy.retired": "a policy was taken out of force",
    "policy.recovered": "a policy was switched off from outside",
    "matrix.recovered": "the matrix was reset from outside",
    "matrix.row_added": "a row of the matrix was added",
    "matrix.row_changed": "a row of the matrix was changed",
    "matrix.row_removed": "a row of the matrix was removed",
    "blast_weights.changed": "the weights of risk were changed",
    "principal.made_admin": "somebody was made an admin from outside",
    "role.granted": "what a role may do was changed",
    "quarantine.cleared": "a quarantine was cleared",
}


def rows(wanted: ReportScope) -> Iterator[Row | None]:
    """In the order of the log. The index finds the events, the events say what happened."""
    places, after = environment_names(wanted.tenant), 0
    while True:
        found = _batch(wanted, after)
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


def _batch(wanted: ReportScope, after: int) -> list[IndexedEvent]:
    found = IndexedEvent.objects.filter(tenant=wanted.tenant, event__gt=after, verb__in=[*ON_CHANGES, *ON_RULES])
    if wanted.since and wanted.until:
        found = found.filter(at__gte=wanted.since, at__lt=wanted.until)
    if wanted.environment:
        found = found.filter(environment=wanted.environment)
    return list(found.order_by("event")[:BATCH])


def _words(event: Event) -> str:
    facts: dict[str, Any] = read_envelope(event).get("facts") or {}
    return ON_RULES.get(event.verb) or exception_in(event.verb, event.outcome, facts)


REPORT = Report(
    kind="policy_exceptions",
    title="Policy exceptions",
    question="Where did a change not go the ordinary way, and when were the rules themselves changed?",
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
    rows=rows,
    looked_at="events",
    shows="Changes that ran without a person's approval and why the rules let them, decisions that were refused, "
    "approvals taken back or made void by drift, changes that were held or denied, glass that was broken; and every "
    "change of policies, matrix, weights, and of what roles may do. Each with the event that recorded it.",
    shows_not="Whether an exception was justified: the reason is in the evidence pack of the change. With an "
    "environment chosen, rules that hold for the whole tenant are left out.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
)

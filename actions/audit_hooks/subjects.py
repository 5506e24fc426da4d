"""Hooks of actions in the audit log: titles of subjects, evidence files, erasure, reports."""

from typing import Any
from uuid import UUID

from django.db.models import Q

from actions.audit_hooks.change_reports import CHANGES_REPORT, DUTIES_REPORT
from actions.audit_hooks.exception_reports import EXCEPTIONS_REPORT, VERIFICATIONS_REPORT
from actions.controls.circuit_breaker import breaker_subject
from actions.models import Action, CircuitBreaker, Incident, JournalEntry, Plan
from actions.models.states import ENDED, State
from approvals.models import PolicyVersion
from audit.auditor.log.subject_page import register_links
from audit.auditor.reports.registry import register_report
from audit.evidence.contents import Contribution, register_contributor
from audit.log.events import Subject
from audit.log.subjects import register_describer
from audit.retention.archives import register_ended_check
from audit.retention.erasure import register_eraser
from audit.verify import canonical_bytes
from tenants.models import Environment


def register_reports() -> None:
    for report in (CHANGES_REPORT, DUTIES_REPORT, EXCEPTIONS_REPORT, VERIFICATIONS_REPORT):
        register_report(report)


def register_subjects() -> None:
    register_describer("environment", describe_environments)
    register_describer("action", describe_actions)
    register_describer("breaker", describe_breakers)
    register_links("action", related_actions)


def describe_actions(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """Title and address of a tenant's actions, by id."""
    found = Action.objects.filter(tenant=tenant, pk__in=ids).values_list("pk", "title")
    return {pk: Subject("action", pk, title, f"/actions/{pk}/") for pk, title in found}


def related_actions(tenant: UUID, action_id: UUID) -> list[tuple[str, Subject]]:
    """The actions proposed because of an action: retries, undos and fallbacks, the newest twenty."""
    related = Q(retry_of=action_id) | Q(undo_of=action_id) | Q(fallback_of=action_id)
    found = Action.objects.filter(related, tenant=tenant).order_by("-id")[:20]
    return [
        (
            "retried by" if it.retry_of_id else "undone by" if it.undo_of_id else "fell back to",
            Subject("action", it.pk, it.title, f"/actions/{it.pk}/"),
        )
        for it in found.only("pk", "title", "retry_of", "undo_of")
    ]


def describe_breakers(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """Circuit breakers; the system page lists them."""
    return {b.pk: breaker_subject(b) for b in CircuitBreaker.objects.filter(tenant=tenant, pk__in=ids)}


def describe_environments(tenant: UUID, ids: set[UUID]) -> dict[UUID, Subject]:
    """Environments, for the events of freezes."""
    found = Environment.objects.filter(tenant=tenant, pk__in=ids)
    return {e.pk: Subject("environment", e.pk, e.name, f"/environments/{e.slug}/") for e in found}


# Evidence of an action besides its events: the action, its rules, the usage of its steps.


MAX_STEPS = 5_000


def register_evidence() -> None:
    register_contributor("action", evidence_files)


def evidence_files(tenant: UUID, subject: Subject) -> Contribution:
    """Five queries at most; the same bytes as long as the action's events are the same."""
    action = Action.objects.select_related("environment").filter(tenant=tenant, pk=subject.id).first()
    if action is None:
        return Contribution()
    plans = list(Plan.objects.filter(action=action).order_by("version"))
    files = [
        ("action.json", canonical_bytes(_about(action)), "action"),
        ("policies.json", canonical_bytes(_rules(plans)), "policies"),
        ("steps.json", canonical_bytes(_steps(action)), "steps"),
    ]
    incidents = _incidents(action)
    if action.ticket or action.external_url or incidents["incidents"]:
        files.append(("ticket.json", canonical_bytes(incidents), "ticket"))
    return Contribution(tuple(files), tuple(_facts(action)))


def _facts(action: Action) -> list[tuple[str, str]]:
    found = [("Type", action.type), ("Environment", action.environment.slug)]
    if action.tier:
        found.append(("Risk", f"{action.tier}, {action.blast_score} of 100"))
    if action.ticket:
        found.append(("Ticket", action.ticket))
    return found


def _about(action: Action) -> dict[str, Any]:
    links = {name: str(getattr(action, name)) for name in ("undo_of_id", "retry_of_id") if getattr(action, name)}
    return {
        "format": "interlock.action/1",
        "id": str(action.pk),
        "type": action.type,
        "target": action.target,
        "environment": {"id": str(action.environment_id), "slug": action.environment.slug},
        "security_level": action.security_level,
        "risk_class": action.risk_class,
        "simulated": action.simulated,
        "checks": action.checks,
        **links,
    }


def _rules(plans: list[Plan]) -> dict[str, Any]:
    """The verdict on each plan, and the wording of every evaluated policy version; these never change."""
    asked = {
        (r["policy"], r["version"]) for plan in plans for r in plan.verdict.get("policy_results", []) if r.get("policy")
    }
    versions = PolicyVersion.objects.filter(policy__in={policy for policy, _ in asked}).select_related("policy")
    wordings = [
        {
            "policy": str(v.policy_id),
            "slug": v.policy.slug,
            "version": v.version,
            "expression": v.expression,
            "effect": v.effect,
            "required_approvals": v.required_approvals,
            "message": v.message,
            "mode": v.mode,
        }
        for v in versions.order_by("policy__slug", "version")
        if (str(v.policy_id), v.version) in asked
    ]
    verdicts = [{"version": plan.version, "digest": plan.digest, "verdict": plan.verdict} for plan in plans]
    return {"format": "interlock.rules/1", "verdicts": verdicts, "policies": wordings}


def _steps(action: Action) -> dict[str, Any]:
    """The journal, with the usage of each attempt. Its logs are artifacts."""
    lines = JournalEntry.objects.filter(action=action).order_by("pk")[:MAX_STEPS]
    return {
        "format": "interlock.steps/1",
        "lines": [
            {
                "step": line.step,
                "attempt": line.attempt,
                "kind": line.kind,
                "at": line.at.isoformat(),
                "metrics": line.metrics,
            }
            for line in lines
        ],
    }


def _incidents(action: Action) -> dict[str, Any]:
    incidents_of = Incident.objects.filter(action=action).order_by("ending_seq")
    return {
        "format": "interlock.ticket/1",
        "ticket": action.ticket,
        "external_url": action.external_url,
        "incidents": [
            {"event": t.ending_seq, "ending": t.ending, "severity": t.severity, "summary": t.summary}
            for t in incidents_of
        ],
    }


# Erasure of a person's texts, and retention of the log of ended actions.


ERASED = "(erased)"
FINAL_STATES = [state for state in ENDED if state != State.FAILED]
"""A failed action may still be rolled back, at any time."""


def register_erasure() -> None:
    register_eraser("actions", erase_words)
    register_ended_check("action", ended_for_good)


def erase_words(tenant: UUID, person: UUID) -> int:
    """Erase title, reason and ticket of the actions that a person proposed; return how many."""
    theirs = Action.objects.filter(tenant=tenant, requester=person).exclude(title=ERASED)
    return theirs.update(title=ERASED, reason=ERASED, ticket="", external_url="")


def ended_for_good(ids: list[UUID]) -> set[UUID]:
    """Those of these actions that can no longer move."""
    return set(Action.objects.filter(pk__in=ids, state__in=FINAL_STATES).values_list("pk", flat=True))

"""What the evidence of an action holds besides its events: where it landed, the rules as they were, what steps used."""

from typing import Any
from uuid import UUID

from actions.models import Action, Checkpoint, Plan, Ticket
from approvals.models import PolicyVersion
from audit.evidence.contents import Contribution, register_contributor
from audit.log.events import Subject
from audit.verify import canonical_bytes

MOST_STEPS = 5_000


def connect() -> None:
    register_contributor("action", contribution)


def contribution(tenant: UUID, subject: Subject) -> Contribution:
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
    tickets = _tickets(action)
    if action.ticket or action.external_url or tickets["handed_off"]:
        files.append(("ticket.json", canonical_bytes(tickets), "ticket"))
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
    """The verdict on each plan, and the wording of every version of a policy that had a say; these never change."""
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
    """The ledger, line by line, with what each attempt used. Its logs are artifacts."""
    lines = Checkpoint.objects.filter(action=action).order_by("pk")[:MOST_STEPS]
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


def _tickets(action: Action) -> dict[str, Any]:
    handed = Ticket.objects.filter(action=action).order_by("ending_seq")
    return {
        "format": "interlock.ticket/1",
        "ticket": action.ticket,
        "external_url": action.external_url,
        "handed_off": [
            {"event": t.ending_seq, "ending": t.ending, "severity": t.severity, "summary": t.summary} for t in handed
        ],
    }

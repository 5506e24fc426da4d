"""The facts that judgement is made on: counters and names, never the change itself."""

from collections import Counter
from decimal import Decimal
from typing import Any

from actions.lifecycle.context import ActionContext, find_dependents
from actions.types.protocol import Draft
from approvals.policies.apply import MIN_CONFIDENCE
from tenants.models import Resource
from tenants.models.working_hours import working_window


def count_changes(draft: Draft) -> dict[str, int]:
    """Count what a draft would do: resources, changes by operation, steps by how they can be undone."""
    operations = Counter(c.operation for c in draft.changes)
    undo = Counter(step["compensation"]["kind"] for step in draft.steps)
    return {
        "resources": len(draft.resources),
        "changes": len(draft.changes),
        "creates": operations["create"],
        "modifies": operations["modify"] + operations["replace"],
        "deletes": operations["delete"] + operations["replace"],
        "steps": len(draft.steps),
        "reversible": undo["reversible"],
        "lossy": undo["lossy"],
        "irreversible": undo["irreversible"],
    }


def build_facts(context: ActionContext, draft: Draft) -> dict[str, Any]:
    """The facts of one action and its draft, in the form `approvals.verdict` documents."""
    action, environment = context.action, context.action.environment
    return {
        "tenant": {"id": str(action.tenant_id), "slug": environment.tenant.slug},
        "environment": {
            "id": str(environment.pk),
            "slug": environment.slug,
            "risk_class": environment.risk_class,
            "recommendation_only": environment.settings.get("recommendation_only", True) is not False,
            "confident": required_confidence(environment.settings),
        },
        "action": {
            "type": action.type,
            "security_level": action.security_level,
            "risk_class": action.risk_class,
            "requester": str(action.requester_id),
            "requester_kind": action.requester.kind,
            "confidence": action.confidence,
            "accepted_in_advance": action.accepted_in_advance,
            "is_undo": action.undo_of_id is not None,
            **({"mode": "simulate"} if action.simulated else {}),
        },
        "plan": count_changes(draft),
        "resources": [_resource(context, r) for r in draft.resources],
        "cost_delta": None if draft.cost_delta is None else str(Decimal(draft.cost_delta)),
        "dependents": find_dependents(_known(context, draft), context.edges, context.resources),
        "history": context.history,
        "window": working_window(environment.settings, context.now),
        "weights": context.weights,
        "matrix": context.matrix,
    }


def required_confidence(settings: dict[str, Any]) -> float:
    """The confidence an environment asks of what runs unattended; nothing below the built-in floor, whatever is set."""
    asked = settings.get("confident", MIN_CONFIDENCE)
    return max(MIN_CONFIDENCE, float(asked)) if isinstance(asked, int | float) else 1.0


def _known(context: ActionContext, draft: Draft) -> list[Resource]:
    found = (_found(context, named) for named in draft.resources)
    return [resource for resource in found if resource is not None]


def _found(context: ActionContext, named: dict[str, str]) -> Resource | None:
    """A resource in the inventory, entered with the environment before its name or without."""
    here = context.resources.get((named["kind"], _name_here(context, named["name"])))
    return here or context.resources.get((named["kind"], named["name"]))


def _name_here(context: ActionContext, name: str) -> str:
    """A resource's name as the environment's inventory has it: executors put the environment before it."""
    return name.removeprefix(f"{context.action.environment.slug}:")


def _resource(context: ActionContext, named: dict[str, str]) -> dict[str, Any]:
    known = _found(context, named)
    cost = known.monthly_cost if known else None
    return {
        "kind": named["kind"],
        "name": _name_here(context, named["name"]),
        "risk_class": known.risk_class if known else context.action.environment.risk_class,
        "monthly_cost": None if cost is None else str(cost),
        "known": known is not None,
        **({"shared": True} if named.get("shared") else {}),
    }

"""
From an executor's draft to the immutable plan: the facts of its evaluation, its digest, artifacts and verdict.

Facts are counts and names, never the change itself.
"""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from actions.lifecycle.context import ActionContext, before_image_context, find_dependents
from actions.models import Action, BeforeImage, Plan
from actions.preflight.duration_estimate import estimate_duration
from actions.preflight.step_graph import build_rollback_plan, order_steps
from actions.preflight.summary import describe_draft
from actions.types.protocol import Draft
from actions.types.shared.recovery_policy import merge_policy
from approvals.blast.advice import advise
from approvals.policies.apply import MIN_CONFIDENCE, evaluate, facts_digest
from approvals.verdict import Verdict
from audit.changes.document import serialize_changes
from audit.log.artifacts import ArtifactRows, pack_artifact
from audit.log.canonical_json import MAX_INTEGER, canonical, digest_of
from tenants.models import Resource
from tenants.models.working_hours import working_window
from tenants.vault import encrypt


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
    """The confidence that an environment requires of unattended runs; never below the built-in minimum."""
    asked = settings.get("confident", MIN_CONFIDENCE)
    return max(MIN_CONFIDENCE, float(asked)) if isinstance(asked, int | float) else 1.0


def _known(context: ActionContext, draft: Draft) -> list[Resource]:
    found = (_found(context, named) for named in draft.resources)
    return [resource for resource in found if resource is not None]


def _found(context: ActionContext, named: dict[str, str]) -> Resource | None:
    """A resource in the inventory, with or without the environment before its name."""
    here = context.resources.get((named["kind"], _name_here(context, named["name"])))
    return here or context.resources.get((named["kind"], named["name"]))


def _name_here(context: ActionContext, name: str) -> str:
    """A resource's name in the environment's inventory: executors put the environment before it."""
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


# Make values from executors and targets storable: in both databases, in JSON and in the log.


MAX_DEPTH = 30
MAX_CHARACTERS = 20_000


def sanitize(value: Any, depth: int = 0) -> Any:
    """
    The same value with what cannot be stored made visible: NUL (PostgreSQL has no text with it), lone surrogates (no
    UTF-8 form), numbers that JSON readers cannot hold, other types and endless nesting as text; texts cut at 20,000
    characters. A single such value would otherwise fail the transaction that carries many actions.
    """
    kind = type(value)
    if value is None or kind is bool or (kind is int and abs(value) <= MAX_INTEGER):
        return value
    if kind is float and math.isfinite(value):
        return value
    if isinstance(value, dict | list | tuple) and depth < MAX_DEPTH:
        if isinstance(value, dict):
            return {sanitize_text(key): sanitize(inner, depth + 1) for key, inner in value.items()}
        return [sanitize(inner, depth + 1) for inner in value]
    return sanitize_text(value)


def sanitize_text(value: Any) -> str:
    text = str(value)
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS] + "…"
    return text.replace("\x00", "␀").encode("utf-8", "backslashreplace").decode()


# The plan: digest, artifacts, summary, verdict.


PLAN_FORMAT = "interlock.plan/1"


@dataclass
class PlannedAction:
    """The result of preflight: the plan to store, its artifacts and its verdict. Nothing is stored yet."""

    plan: Plan
    verdict: Verdict
    packs: list[ArtifactRows]
    draft: Draft
    facts: dict[str, Any]
    images: dict[str, bytes] = field(default_factory=dict, repr=False)


def make_plan(context: ActionContext, version: int) -> PlannedAction:
    """
    Plan an action and evaluate the plan, changing nothing. Runs in a thread; reads the target, not the database.

    Raises PlanRefused with the executor's message.
    """
    return with_stored_plan(context, evaluate_draft(context), version)


def remake_plan(context: ActionContext) -> PlannedAction:
    """The same for an action that has a plan: if the digest is unchanged, its plan is kept."""
    new = evaluate_draft(context)
    digest = digest_of(digest_body(context, new.draft))
    return new if digest == context.plan.digest else with_stored_plan(context, new, context.plan.version + 1)


def evaluate_draft(context: ActionContext) -> PlannedAction:
    """A new draft and its verdict, with the action's current plan, if any, and without artifacts."""
    draft = make_draft(context)
    facts = build_facts(context, draft)
    verdict = evaluate(facts, context.rules, context.now)
    return PlannedAction(context.action.plan or Plan(), verdict, [], draft, facts, dict(draft.before_images))


def with_stored_plan(context: ActionContext, it: PlannedAction, version: int) -> PlannedAction:
    """The same result with a new plan and its artifacts. Pure."""
    plan, packs = build_plan(context, it.draft, version)
    plan.blast = {**vars(it.verdict.blast), "lower": advise(it.facts, it.verdict.tier)}
    plan.verdict = {k: v for k, v in vars(it.verdict).items() if k != "blast"}
    plan.verdict["facts_sha256"] = facts_digest(it.facts)
    plan.facts = it.facts
    return replace(it, plan=plan, packs=packs)


def make_draft(context: ActionContext) -> Draft:
    """The executor's draft, with the order written into its steps. Raises PlanRefused."""
    origin = context.action.undo_of
    if origin is None:
        draft = context.executor.plan(context.action.parameters, context.target)
    else:
        draft = context.executor.plan_undo(applied_steps(origin), context.target, context.undone.get)
    draft.steps = order_steps(draft)
    return draft


def applied_steps(origin: Action) -> list[dict[str, Any]]:
    """The steps of a completed action that left an effect; skipped ones have nothing to undo."""
    left_out = (origin.result or {}).get("left_out", [])
    return [s for s in (origin.plan.steps if origin.plan else []) if s["key"] not in left_out]


def build_plan(context: ActionContext, draft: Draft, version: int) -> tuple[Plan, list[ArtifactRows]]:
    """Make the plan row and its artifacts (machine plan, change document) from a draft. Pure."""
    body = digest_body(context, draft)
    digest = digest_of(body)
    steps = [{**s, "idempotency_key": idempotency_key(context.action.pk, s["key"], digest)} for s in draft.steps]
    tenant = context.action.tenant_id
    machine = pack_artifact(tenant, canonical({**body, "digest": digest, "steps": steps}), "application/json")
    changes = pack_artifact(tenant, canonical(serialize_changes(draft.changes)), "application/json")
    plan = Plan(
        action_id=context.action.pk,
        version=version,
        digest=digest,
        document=machine.digest,
        changes=changes.digest,
        summary=draft.summary or describe_draft(draft),
        steps=steps,
        rollback=body["rollback"],
        recovery=body["recovery"],
        counts=count_changes(draft),
        observations={**draft.observations, "expected": estimate_duration(context.past, len(draft.steps))},
    )
    return plan, [machine, changes]


def digest_body(context: ActionContext, draft: Draft) -> dict[str, Any]:
    """The content of the digest, as RFC 8785 canonical JSON. No times, no observations, no scores."""
    executor, target = context.executor, context.target
    return {
        "format": PLAN_FORMAT,
        "executor": {"name": executor.name, "version": executor.version},
        "parameters": context.action.parameters,
        "target": {
            "tenant": str(target.tenant_id),
            "environment": str(target.environment_id),
            "root": str(target.root or ""),
            "node": target.node,
            "service": target.service,
        },
        "resources": draft.resources,
        "preconditions": draft.preconditions,
        "changes": [
            {
                "key": c.key,
                "target": c.target,
                "kind": c.kind,
                "operation": c.operation,
                "before": {"sha256": c.before_digest, "mode": c.before_mode},
                "after": {"sha256": c.after_digest, "mode": c.after_mode},
            }
            for c in draft.changes
        ],
        "steps": draft.steps,
        "compensations": draft.compensations,
        "rollback": build_rollback_plan(draft.steps, getattr(executor, "rollback", {}), context.action.rollback),
        "recovery": merge_policy(executor, context.action.recovery),
    }


def idempotency_key(action_id: UUID, step: str, digest: str) -> str:
    return hashlib.sha256(f"{action_id}:{step}:{digest}".encode()).hexdigest()[:32]


def encrypt_before_images(context: ActionContext, images: dict[str, bytes]) -> list[BeforeImage]:
    """Encrypt before-images under the tenant's key, each bound to its action and step."""
    tenant, action = context.action.environment.tenant, context.action
    return [
        BeforeImage(
            action_id=action.pk, step=step, ciphertext=encrypt(tenant, data, before_image_context(action.pk, step))
        )
        for step, data in images.items()
    ]

"""From an executor's draft to the immutable plan: digest, artifacts, summary, verdict."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from actions.lifecycle.context import ActionContext, before_image_context
from actions.models import Action, BeforeImage, Plan
from actions.preflight.duration_estimate import estimate_duration
from actions.preflight.facts import build_facts, count_changes
from actions.preflight.step_graph import build_rollback_plan, order_steps
from actions.preflight.summary import describe_draft
from actions.types.protocol import Draft
from actions.types.shared.recovery_policy import merge_policy
from approvals.blast.advice import advise
from approvals.policies.apply import evaluate, facts_digest
from approvals.verdict import Verdict
from audit.changes.document import serialize_changes
from audit.log.artifacts import ArtifactRows, pack_artifact
from audit.log.canonical_json import canonical, digest_of
from tenants.vault import encrypt

PLAN_FORMAT = "interlock.plan/1"


@dataclass
class PlannedAction:
    """What preflight came to: the plan to store, its artifacts, and the verdict on it. Nothing is stored yet."""

    plan: Plan
    verdict: Verdict
    packs: list[ArtifactRows]
    draft: Draft
    facts: dict[str, Any]
    images: dict[str, bytes] = field(default_factory=dict, repr=False)


def make_plan(context: ActionContext, version: int) -> PlannedAction:
    """
    Plan an action and judge the plan, touching nothing. Runs in a thread; reads the target, not the database.

    Raises PlanRefused with the executor's words.
    """
    return with_stored_plan(context, evaluate_draft(context), version)


def remake_plan(context: ActionContext) -> PlannedAction:
    """The same for an action that has a plan: while the digest is still its plan's, that plan stands as it is."""
    new = evaluate_draft(context)
    digest = digest_of(digest_body(context, new.draft))
    return new if digest == context.plan.digest else with_stored_plan(context, new, context.plan.version + 1)


def evaluate_draft(context: ActionContext) -> PlannedAction:
    """A new draft and the verdict on it; the plan is still the action's own, if any, and nothing is packed."""
    draft = make_draft(context)
    facts = build_facts(context, draft)
    verdict = evaluate(facts, context.rules, context.now)
    return PlannedAction(context.action.plan or Plan(), verdict, [], draft, facts, dict(draft.before_images))


def with_stored_plan(context: ActionContext, it: PlannedAction, version: int) -> PlannedAction:
    """The same planned with a plan of its own, and that plan's artifacts. Pure."""
    plan, packs = build_plan(context, it.draft, version)
    plan.blast = {**vars(it.verdict.blast), "lower": advise(it.facts, it.verdict.tier)}
    plan.verdict = {k: v for k, v in vars(it.verdict).items() if k != "blast"}
    plan.verdict["facts_sha256"] = facts_digest(it.facts)
    plan.facts = it.facts
    return replace(it, plan=plan, packs=packs)


def make_draft(context: ActionContext) -> Draft:
    """What the executor would do, its steps in an order that is written into them. Raises PlanRefused."""
    origin = context.action.undo_of
    if origin is None:
        draft = context.executor.plan(context.action.parameters, context.target)
    else:
        draft = context.executor.plan_undo(applied_steps(origin), context.target, context.undone.get)
    draft.steps = order_steps(draft)
    return draft


def applied_steps(origin: Action) -> list[dict[str, Any]]:
    """The steps of a completed action that left an effect: those that failed and were left out have nothing to undo."""
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
    """What the digest is taken over: RFC 8785 canonical JSON of exactly this. No times, no observations, no scores."""
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

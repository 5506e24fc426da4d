"""From an executor's draft to the immutable plan: digest, artifacts, summary, verdict."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from actions.case import Case, image_context
from actions.models import Action, BeforeImage, Plan
from actions.pace import expected_of
from actions.preflight.facts import counts_of, facts_of
from actions.preflight.order import in_order
from actions.preflight.summary import in_words
from actions.preflight.way_back import way_back
from actions.recovery import policy_of
from actions.types.protocol import Draft
from approvals.blast.advice import advise
from approvals.policies.apply import evaluate, facts_digest
from approvals.verdict import Verdict
from audit.changes.document import serialize_changes
from audit.log.artifacts import ArtifactRows, pack_artifact
from audit.log.canonical_json import canonical, digest_of
from tenants.vault import encrypt

PLAN_FORMAT = "interlock.plan/1"


@dataclass
class Rehearsal:
    """What preflight came to: the plan to store, its artifacts, and the verdict on it. Nothing is stored yet."""

    plan: Plan
    verdict: Verdict
    packs: list[ArtifactRows]
    draft: Draft
    facts: dict[str, Any]
    images: dict[str, bytes] = field(default_factory=dict, repr=False)


def rehearse(case: Case, version: int) -> Rehearsal:
    """
    Plan an action and judge the plan, touching nothing. Runs in a thread; reads the target, not the database.

    Raises PlanRefused with the executor's words.
    """
    return written(case, judged_draft(case), version)


def rehearse_again(case: Case) -> Rehearsal:
    """The same for an action that has a plan: while the digest is still its plan's, that plan stands as it is."""
    new = judged_draft(case)
    digest = digest_of(digested(case, new.draft))
    return new if digest == case.plan.digest else written(case, new, case.plan.version + 1)


def judged_draft(case: Case) -> Rehearsal:
    """A new draft and the verdict on it; the plan is still the action's own, if any, and nothing is packed."""
    draft = draft_of(case)
    facts = facts_of(case, draft)
    verdict = evaluate(facts, case.rules, case.now)
    return Rehearsal(case.action.plan or Plan(), verdict, [], draft, facts, dict(draft.before_images))


def written(case: Case, it: Rehearsal, version: int) -> Rehearsal:
    """The same rehearsal with a plan of its own, and that plan's artifacts. Pure."""
    plan, packs = plan_of(case, it.draft, version)
    plan.blast = {**vars(it.verdict.blast), "lower": advise(it.facts, it.verdict.tier)}
    plan.verdict = {k: v for k, v in vars(it.verdict).items() if k != "blast"}
    plan.verdict["facts_sha256"] = facts_digest(it.facts)
    plan.facts = it.facts
    return replace(it, plan=plan, packs=packs)


def draft_of(case: Case) -> Draft:
    """What the executor would do, its steps in an order that is written into them. Raises PlanRefused."""
    origin = case.action.undo_of
    if origin is None:
        draft = case.executor.plan(case.action.parameters, case.target)
    else:
        draft = case.executor.plan_undo(done_by(origin), case.target, case.undone.get)
    draft.steps = in_order(draft)
    return draft


def done_by(origin: Action) -> list[dict[str, Any]]:
    """The steps of a completed action that left an effect: those that failed and were left out have nothing to undo."""
    left_out = (origin.result or {}).get("left_out", [])
    return [s for s in (origin.plan.steps if origin.plan else []) if s["key"] not in left_out]


def plan_of(case: Case, draft: Draft, version: int) -> tuple[Plan, list[ArtifactRows]]:
    """Make the plan row and its artifacts (machine plan, change document) from a draft. Pure."""
    body = digested(case, draft)
    digest = digest_of(body)
    steps = [{**s, "idempotency_key": idempotency_key(case.action.pk, s["key"], digest)} for s in draft.steps]
    tenant = case.action.tenant_id
    machine = pack_artifact(tenant, canonical({**body, "digest": digest, "steps": steps}), "application/json")
    changes = pack_artifact(tenant, canonical(serialize_changes(draft.changes)), "application/json")
    plan = Plan(
        action_id=case.action.pk,
        version=version,
        digest=digest,
        document=machine.digest,
        changes=changes.digest,
        summary=draft.summary or in_words(draft),
        steps=steps,
        rollback=body["rollback"],
        recovery=body["recovery"],
        counts=counts_of(draft),
        observations={**draft.observations, "expected": expected_of(case.past, len(draft.steps))},
    )
    return plan, [machine, changes]


def digested(case: Case, draft: Draft) -> dict[str, Any]:
    """What the digest is taken over: RFC 8785 canonical JSON of exactly this. No times, no observations, no scores."""
    executor, target = case.executor, case.target
    return {
        "format": PLAN_FORMAT,
        "executor": {"name": executor.name, "version": executor.version},
        "parameters": case.action.parameters,
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
        "rollback": way_back(draft.steps, getattr(executor, "rollback", {}), case.action.rollback),
        "recovery": policy_of(executor, case.action.recovery),
    }


def idempotency_key(action_id: UUID, step: str, digest: str) -> str:
    return hashlib.sha256(f"{action_id}:{step}:{digest}".encode()).hexdigest()[:32]


def sealed_images(case: Case, images: dict[str, bytes]) -> list[BeforeImage]:
    """Encrypt before-images under the tenant's key, each bound to its action and step."""
    tenant, action = case.action.environment.tenant, case.action
    return [
        BeforeImage(action_id=action.pk, step=step, ciphertext=encrypt(tenant, data, image_context(action.pk, step)))
        for step, data in images.items()
    ]

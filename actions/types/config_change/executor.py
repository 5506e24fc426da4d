"""The executor of policy changes. Its target is the database, through `approvals.policies.publish` only."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from actions.types.config_change.rule_targets import (
    RuleChange,
    apply_change,
    change_from_spec,
    invert_spec,
    plan_change,
    require_backtest,
    side_in_force,
)
from actions.types.protocol import Draft, Issue, Outcome, PlanRefused, Probe, StepContext, Target
from actions.types.shared.executor_base import outcome_if_out_of_time, own_connection
from audit.errors import Problem

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["kind", "draft"],
    "properties": {
        "kind": {
            "title": "What changes",
            "description": "policy: put a version in force; retire: take one out of force; matrix: replace the "
            "environment's approval matrix.",
            "enum": ["policy", "retire", "matrix"],
        },
        "draft": {
            "title": "Which draft",
            "description": "The id of the policy's version, or of the matrix draft.",
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        },
    },
}
PROBES = {"before": Probe.NOT_DONE, "after": Probe.DONE, "else": Probe.UNKNOWN}
MOVED = "The policies changed since planning. Nothing was changed. Propose it again."


class ConfigChange:
    """One step: swap what is in force, compared with what was when it was planned."""

    name = "config_change"
    version = "1"
    title = "Change policies"
    description = "Publishes or retires a guard policy, or replaces the approval matrix of an environment."
    schema = SCHEMA
    security_level = "critical"
    risk_class = "dangerous"
    changes_something = True
    permission = "administer"
    """What it takes to propose this, instead of `propose`."""

    def level_of(self, parameters: dict[str, Any]) -> str:
        return "critical"

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        try:
            self.plan(parameters, target)
        except PlanRefused as refused:
            return refused.issues
        return []

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        with own_connection():
            swap = plan_change(parameters, target)
            return build_draft(swap, require_backtest(parameters["kind"], UUID(parameters["draft"])))

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        spec = plan_steps[0]["spec"]
        with own_connection():
            if side_in_force(spec) != "after":
                raise PlanRefused("The policies changed since. Draft and propose the wanted version.")
            return build_draft(change_from_spec(invert_spec(spec)))

    def apply(self, ctx: StepContext) -> Outcome:
        return self._carry_out(ctx, ctx.step["spec"], ctx.idempotency_key)

    def probe(self, ctx: StepContext) -> Probe:
        with own_connection():
            return PROBES[side_in_force(ctx.step["spec"])]

    def compensate(self, ctx: StepContext) -> Outcome:
        return self._carry_out(ctx, invert_spec(ctx.step["spec"]), f"{ctx.idempotency_key}:undo", undoes=True)

    def probe_undo(self, ctx: StepContext) -> Probe:
        with own_connection():
            return PROBES[side_in_force(invert_spec(ctx.step["spec"]))]

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        with own_connection():
            return [_verify_step(step, side_in_force(step["spec"])) for step in steps]

    def _carry_out(self, ctx: StepContext, spec: dict[str, Any], key: str, *, undoes: bool = False) -> Outcome:
        stopped = None if undoes else outcome_if_out_of_time(ctx)
        if stopped:
            return stopped
        try:
            with own_connection():
                changed = apply_change(spec, ctx.action_id, key)
        except Problem as problem:
            return Outcome(False, "precondition", f"{problem.detail} {MOVED}")
        ctx.log("The policies are in force." if changed else "It was in force already.")
        return Outcome(True, facts={"changed": changed})


def build_draft(swap: RuleChange, backtest: dict[str, Any] | None = None) -> Draft:
    """The plan of one change of rules: one step, the texts before and after, and what its backtest found, if any."""
    key = swap.change.key
    back = describe_change(swap)
    step = {
        "key": key,
        "title": swap.title,
        "target": swap.change.target,
        "operation": swap.change.operation,
        "after": [],
        "precondition": {"sha256": swap.change.before_digest or ""},
        "compensation": {"kind": "reversible", "title": back},
        "spec": swap.spec,
    }
    return Draft(
        resources=[swap.resource],
        changes=[swap.change],
        steps=[step],
        preconditions=[{"target": swap.change.target, "sha256": swap.change.before_digest or ""}],
        compensations=[{"step": key, "kind": "reversible", "title": back}],
        observations={"backtest": backtest} if backtest else {},
        summary=f"{swap.title}. {backtest['words']}" if backtest else f"{swap.title}.",
    )


def describe_change(swap: RuleChange) -> str:
    if swap.spec["kind"] == "matrix":
        return "Put the earlier matrix back"
    before = swap.spec["before"]
    return f"Publish v{before} again" if before else f"Retire v{swap.spec['after']}"


def _verify_step(step: dict[str, Any], found: str) -> dict[str, Any]:
    words = {
        "after": "It is in force.",
        "before": "The earlier policies are in force.",
        "else": "Other policies are in force.",
    }
    return {"name": step["title"], "ok": found == "after", "detail": words[found]}

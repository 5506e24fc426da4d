"""
Simulate: a run without effects, in which each step says from its reviewed plan what it would do.

`apply` and `compensate` of the executor are never called; `probe` may be, which only reads.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from actions.lifecycle.context import ActionContext, IntendedChange
from actions.preflight.plan import digest_body, make_draft, sanitize_text
from actions.types.protocol import Outcome, PlanRefused, Probe, StepContext
from audit.changes.document import Change, parse_changes
from audit.log.artifacts import read_artifact
from audit.log.canonical_json import digest_of

MAX_NAMED = 100
"""Changes of one step that its receipt and log name; the plan has all of them."""
SHOWN_DIGITS = 12
VERBS = {"create": "create", "modify": "change", "delete": "delete", "replace": "replace"}


def load_intended(context: ActionContext) -> dict[str, list[IntendedChange]]:
    """The changes of each step, from the reviewed change document. Main thread: one query."""
    return group_by_step(context.steps, parse_changes(read_artifact(context.action.tenant_id, context.plan.changes)))


def group_by_step(steps: list[dict[str, Any]], changes: Iterable[Change]) -> dict[str, list[IntendedChange]]:
    """Assign changes to the step with their key, else with their target, else to the last step."""
    if not steps:
        return {}
    keys, targets = {s["key"] for s in steps}, {s["target"]: s["key"] for s in reversed(steps)}
    found: dict[str, list[IntendedChange]] = {}
    for change in changes:
        step = change.key if change.key in keys else targets.get(change.target, steps[-1]["key"])
        found.setdefault(step, []).append(serialize_change(change))
    return found


def serialize_change(change: Change) -> IntendedChange:
    return {
        "path": change.target,
        "operation": change.operation,
        "before": change.before_digest or "",
        "after": change.after_digest or "",
        "adds": change.adds,
        "dels": change.dels,
    }


def simulate_step(context: ActionContext, step: Mapping[str, Any], ctx: StepContext) -> Outcome:
    """Log what one step would do, and whether a probe finds it done already. In a thread."""
    intended = context.intended.get(step["key"], [])
    for change in intended[:MAX_NAMED]:
        ctx.log(describe_intended(change))
    if not intended:
        ctx.log(f"Would {step.get('operation', 'do')} {step['target']}: {step['title']}.")
    if len(intended) > MAX_NAMED:
        ctx.log(f"… and {len(intended) - MAX_NAMED:,} more changes in the plan.")
    if is_already_done(context, ctx):
        ctx.log("Already done, as read from the target.")
    return Outcome(True, "simulated", facts={"simulated": True, "intended": intended[:MAX_NAMED]})


def describe_intended(change: IntendedChange) -> str:
    ends = [change[side][:SHOWN_DIGITS] or "nothing" for side in ("before", "after")]
    verb = VERBS.get(change["operation"], change["operation"])
    said = f"Would {verb} {change['path']}: +{change['adds']} −{change['dels']} lines"
    return f"{said}, {ends[0]} → {ends[1]}." if change["before"] or change["after"] else f"{said}."


def is_already_done(context: ActionContext, ctx: StepContext) -> bool:
    try:
        return context.executor.changes_something and context.executor.probe(ctx) == Probe.DONE
    except Exception as exc:  # a failed probe says nothing, and nothing depends on it here
        ctx.log(f"The probe failed: {type(exc).__name__}: {exc}")
        return False


def check_untouched(context: ActionContext) -> dict[str, Any]:
    """Check that the target is unchanged, in a thread: planning again gives the same plan."""
    name = "Target unchanged"
    try:
        digest = digest_of(digest_body(context, make_draft(context)))
    except PlanRefused as refused:
        return _check(name, f"Someone else changed it; planning again failed: {refused}")
    if digest != context.plan.digest:
        return _check(name, "Someone else changed it; this run did not.")
    return _check(name, "Planning again gives the same plan.")


def _check(name: str, detail: str) -> dict[str, Any]:
    return {"kind": "simulation", "name": name, "ok": True, "detail": sanitize_text(detail)}

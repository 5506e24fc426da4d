"""
A run that changes nothing: each step says, from the plan that was reviewed, what it would do.

Neither `apply` nor `compensate` of an executor is called; `probe` may be, which only reads.
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
"""Changes of one step that its receipt and its log name; the plan has them all."""
SHOWN_DIGITS = 12
VERBS = {"create": "create", "modify": "change", "delete": "delete", "replace": "replace"}


def load_intended(context: ActionContext) -> dict[str, list[IntendedChange]]:
    """What each step of the plan would change, by the change document that was reviewed. Main thread: one query."""
    return group_by_step(context.steps, parse_changes(read_artifact(context.action.tenant_id, context.plan.changes)))


def group_by_step(steps: list[dict[str, Any]], changes: Iterable[Change]) -> dict[str, list[IntendedChange]]:
    """Changes under the step of the same key, else of the same target; what belongs to none is the last step's."""
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
    """Say what one step would do, and whether it is done already as far as a look at the target tells. In a thread."""
    intended = context.intended.get(step["key"], [])
    for change in intended[:MAX_NAMED]:
        ctx.log(describe_intended(change))
    if not intended:
        ctx.log(f"Would {step.get('operation', 'do')} {step['target']}: {step['title']}.")
    if len(intended) > MAX_NAMED:
        ctx.log(f"… and {len(intended) - MAX_NAMED:,} more changes, which the plan names.")
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
    except Exception as exc:  # a probe that fails cannot tell, and nothing depends on it here
        ctx.log(f"The probe failed: {type(exc).__name__}: {exc}")
        return False


def check_untouched(context: ActionContext) -> dict[str, Any]:
    """Plan again, in a thread: a target that comes to the same plan is as it was. One check for the report."""
    name = "The target is as it was"
    try:
        digest = digest_of(digest_body(context, make_draft(context)))
    except PlanRefused as refused:
        return _check(name, f"Someone else changed it; it could not be planned again: {refused}")
    if digest != context.plan.digest:
        return _check(name, "Someone else changed it; this run did not.")
    return _check(name, "Planned again, it comes to the same plan.")


def _check(name: str, detail: str) -> dict[str, Any]:
    return {"kind": "simulation", "name": name, "ok": True, "detail": sanitize_text(detail)}

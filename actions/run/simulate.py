"""
A run that changes nothing: each step says, from the plan that was reviewed, what it would do.

Neither `apply` nor `compensate` of an executor is called; `probe` may be, which only reads.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from actions.case import Case, Intended
from actions.preflight.planning import digested, draft_of
from actions.storable import text_of
from actions.types.protocol import Outcome, PlanRefused, Probe, StepContext
from audit.changes.document import Change, parse_changes
from audit.log.artifacts import read_artifact
from audit.log.canonical_json import digest_of

MOST_NAMED = 100
"""Changes of one step that its receipt and its log name; the plan has them all."""
SHOWN_DIGITS = 12
WORDS = {"create": "create", "modify": "change", "delete": "delete", "replace": "replace"}


def intended_by(case: Case) -> dict[str, list[Intended]]:
    """What each step of the plan would change, by the change document that was reviewed. Main thread: one query."""
    return by_step(case.steps, parse_changes(read_artifact(case.action.tenant_id, case.plan.changes)))


def by_step(steps: list[dict[str, Any]], changes: Iterable[Change]) -> dict[str, list[Intended]]:
    """Changes under the step of the same key, else of the same target; what belongs to none is the last step's."""
    if not steps:
        return {}
    keys, targets = {s["key"] for s in steps}, {s["target"]: s["key"] for s in reversed(steps)}
    found: dict[str, list[Intended]] = {}
    for change in changes:
        step = change.key if change.key in keys else targets.get(change.target, steps[-1]["key"])
        found.setdefault(step, []).append(told(change))
    return found


def told(change: Change) -> Intended:
    return {
        "path": change.target,
        "operation": change.operation,
        "before": change.before_digest or "",
        "after": change.after_digest or "",
        "adds": change.adds,
        "dels": change.dels,
    }


def simulate_step(case: Case, step: Mapping[str, Any], ctx: StepContext) -> Outcome:
    """Say what one step would do, and whether it is done already as far as a look at the target tells. In a thread."""
    intended = case.intended.get(step["key"], [])
    for change in intended[:MOST_NAMED]:
        ctx.log(in_words(change))
    if not intended:
        ctx.log(f"Would {step.get('operation', 'do')} {step['target']}: {step['title']}.")
    if len(intended) > MOST_NAMED:
        ctx.log(f"… and {len(intended) - MOST_NAMED:,} more changes, which the plan names.")
    if is_there_already(case, ctx):
        ctx.log("A look at the target says that this is done already.")
    return Outcome(True, "simulated", facts={"simulated": True, "intended": intended[:MOST_NAMED]})


def in_words(change: Intended) -> str:
    ends = [change[side][:SHOWN_DIGITS] or "nothing" for side in ("before", "after")]
    verb = WORDS.get(change["operation"], change["operation"])
    said = f"Would {verb} {change['path']}: +{change['adds']} −{change['dels']} lines"
    return f"{said}, {ends[0]} → {ends[1]}." if change["before"] or change["after"] else f"{said}."


def is_there_already(case: Case, ctx: StepContext) -> bool:
    try:
        return case.executor.changes_something and case.executor.probe(ctx) == Probe.DONE
    except Exception as exc:  # a probe that fails cannot tell, and nothing depends on it here
        ctx.log(f"The probe failed: {type(exc).__name__}: {exc}")
        return False


def untouched(case: Case) -> dict[str, Any]:
    """Plan again, in a thread: a target that comes to the same plan is as it was. One check for the report."""
    name = "The target is as it was"
    try:
        digest = digest_of(digested(case, draft_of(case)))
    except PlanRefused as refused:
        return _check(name, f"Somebody else changed it meanwhile; it could not be planned again: {refused}")
    if digest != case.plan.digest:
        return _check(name, "Somebody else changed it meanwhile; this run did not.")
    return _check(name, "Planned again, it comes to the same plan.")


def _check(name: str, detail: str) -> dict[str, Any]:
    return {"kind": "simulation", "name": name, "ok": True, "detail": text_of(detail)}

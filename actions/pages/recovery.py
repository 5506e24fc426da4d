"""What a plan does about steps that fail, and what an action fell back to, for its pages."""

from collections.abc import Sequence
from typing import Any

from actions.models import Action, Plan
from actions.recovery import in_sentences

MOST = 5


def recovery_of(plan: Plan) -> list[str]:
    """The policy in sentences, with the steps that stand in for others and those that may not be left out."""
    number = {s["key"]: n for n, s in enumerate(plan.steps, 1)}
    stand_ins = [
        f"Step {number[s['key']]} runs only if step {number[s['fallback_for']]} fails and gives way."
        for s in plan.steps
        if s.get("fallback_for") in number
    ]
    kept = [str(number[s["key"]]) for s in plan.steps if s.get("may_skip") is False]
    never = [f"Never left out: step {', '.join(kept)}."] if kept and len(kept) < len(number) else []
    return [*in_sentences(plan.recovery), *stand_ins, *never]


def fallbacks_of(action: Action) -> Sequence[Any]:
    """The actions that were proposed because this one failed. No query unless it could have any."""
    if not (action.plan and action.plan.recovery.get("fallback")) or action.state not in ("failed", "rolled_back"):
        return []
    found = Action.objects.filter(fallback_of=action, tenant=action.tenant_id).order_by("pk")
    return list(found.values("pk", "title", "state")[:MOST])

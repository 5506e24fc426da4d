"""The preview beside the queue: what it is, how far it reaches, who has agreed. Small risks are decided here."""

from typing import Any

from actions.models import Action
from actions.pages.changes import changes_of
from actions.pages.rows import Row
from actions.verbs import allowed
from audit.ui import charts
from tenants.access import Access

DECIDED_HERE = ("low", "medium")
MOST_FILES = 6


def peek_context(access: Access, action: Action, row: Row) -> dict[str, Any]:
    """The context of `_peek.html` for an action found through the reader's access."""
    plan, verbs = action.plan, allowed(access, action, row.request)
    changes = changes_of(plan, action.tenant_id)
    blast = plan.blast if plan else None
    return {
        "action": action,
        "plan": plan,
        "row": row,
        "verbs": verbs,
        "factors": [f for f in blast["factors"] if f["points"]][:3] if blast else [],
        "blast_chart": charts.blast([f["points"] for f in blast["factors"] if f["points"]]) if blast else "",
        "changes": changes[:MOST_FILES],
        "changes_more": max(0, len(changes) - MOST_FILES),
        "reasons": [r for r in plan.verdict.get("reasons", []) if r["effect"] != "raise"] if plan else [],
        "decide_here": action.tier in DECIDED_HERE and "approve" in verbs and len(changes) <= MOST_FILES,
    }

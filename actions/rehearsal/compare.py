"""Two verdicts side by side: what kind of difference it is, and in words. Pure."""

from collections.abc import Mapping
from typing import Any

from approvals.verdict import Verdict, count_by_role, describe_required_approvals

KINDS = {
    "denied": "would be denied",
    "not_denied": "would no longer be denied",
    "asked": "would ask people, who were not asked",
    "not_asked": "would ask nobody",
    "more_approvals": "would ask more people",
    "fewer_approvals": "would ask fewer people",
    "other_approvals": "would ask other people",
    "accepted": "would ask its requester to accept the diff",
    "not_accepted": "would not ask its requester to accept the diff",
}
"""What becomes of an action that would go otherwise, and in words."""
Said = Mapping[str, Any]


def said(verdict: Verdict | Said) -> dict[str, Any]:
    """What of a verdict decides how an action goes: {"outcome", "tier", "required_approvals", "acceptance"}."""
    if isinstance(verdict, Verdict):
        return {
            "outcome": verdict.outcome,
            "tier": verdict.tier,
            "acceptance": verdict.acceptance,
            "required_approvals": [dict(required) for required in verdict.required_approvals],
        }
    return {
        "outcome": verdict.get("outcome", "deny"),
        "tier": verdict.get("tier", ""),
        "acceptance": bool(verdict.get("acceptance")),
        "required_approvals": list(verdict.get("required_approvals") or ()),
    }


def kind_of(before: Said, after: Said) -> str:
    """Which of KINDS it is; empty if the action goes the same way. A tier by itself changes nothing."""
    if "deny" in (before["outcome"], after["outcome"]):
        if before["outcome"] == after["outcome"]:
            return ""
        return "denied" if after["outcome"] == "deny" else "not_denied"
    old, new = count_by_role(before["required_approvals"]), count_by_role(after["required_approvals"])
    if old != new:
        if not old or not new:
            return "asked" if new else "not_asked"
        more, fewer = bool(new - old), bool(old - new)
        return "other_approvals" if more and fewer else "more_approvals" if more else "fewer_approvals"
    if before["acceptance"] != after["acceptance"]:
        return "accepted" if after["acceptance"] else "not_accepted"
    return ""


def in_words(verdict: Said) -> str:
    """How an action goes under a verdict: "denied", "asks 2 × approver", "runs without asking anybody"."""
    if verdict["outcome"] == "deny":
        return "denied"
    if verdict["required_approvals"]:
        return f"asks {describe_required_approvals(verdict['required_approvals'])}"
    if verdict["acceptance"]:
        return "asks its requester to accept the diff"
    return "runs without asking anybody"


def differences(before: Said, after: Said) -> list[str]:
    """Every difference between two verdicts in sentences; none if they are alike."""
    found = []
    if kind := kind_of(before, after):
        found.append(f"It {KINDS[kind]}: {in_words(before)} today, {in_words(after)} with the draft.")
    if before["tier"] != after["tier"]:
        found.append(f"Its tier would be {after['tier']} instead of {before['tier']}.")
    return found

"""Two verdicts side by side: what kind of difference it is, and in words. Pure."""

from collections.abc import Mapping
from typing import Any

from approvals.judge import Verdict, demand, words

KINDS = {
    "denied": "would be denied",
    "not_denied": "would no longer be denied",
    "asked": "would ask people, who were not asked",
    "not_asked": "would ask nobody",
    "more_seats": "would ask more people",
    "fewer_seats": "would ask fewer people",
    "other_seats": "would ask other people",
    "accepted": "would ask its requester to accept the diff",
    "not_accepted": "would not ask its requester to accept the diff",
}
"""What becomes of an action that would go otherwise, and in words."""
Said = Mapping[str, Any]


def said(verdict: Verdict | Said) -> dict[str, Any]:
    """What of a verdict decides how an action goes: {"outcome", "tier", "seats", "acceptance"}."""
    if isinstance(verdict, Verdict):
        return {
            "outcome": verdict.outcome,
            "tier": verdict.tier,
            "acceptance": verdict.acceptance,
            "seats": [dict(seat) for seat in verdict.seats],
        }
    return {
        "outcome": verdict.get("outcome", "deny"),
        "tier": verdict.get("tier", ""),
        "acceptance": bool(verdict.get("acceptance")),
        "seats": list(verdict.get("seats") or ()),
    }


def kind_of(before: Said, after: Said) -> str:
    """Which of KINDS it is; empty if the action goes the same way. A tier by itself changes nothing."""
    if "deny" in (before["outcome"], after["outcome"]):
        if before["outcome"] == after["outcome"]:
            return ""
        return "denied" if after["outcome"] == "deny" else "not_denied"
    old, new = demand(before["seats"]), demand(after["seats"])
    if old != new:
        if not old or not new:
            return "asked" if new else "not_asked"
        more, fewer = bool(new - old), bool(old - new)
        return "other_seats" if more and fewer else "more_seats" if more else "fewer_seats"
    if before["acceptance"] != after["acceptance"]:
        return "accepted" if after["acceptance"] else "not_accepted"
    return ""


def in_words(verdict: Said) -> str:
    """How an action goes under a verdict: "denied", "asks 2 × approver", "runs without asking anybody"."""
    if verdict["outcome"] == "deny":
        return "denied"
    if verdict["seats"]:
        return f"asks {words(verdict['seats'])}"
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

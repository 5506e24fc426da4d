"""Facts for evaluation, as preflight would gather them."""

from typing import Any

TIERS = ("low", "medium", "high", "critical")
APPROVER = [{"role": "approver", "count": 1}]
ENVIRONMENTS = {"dev": "safe", "staging": "guarded", "prod": "dangerous"}


def facts_of(
    environment: str = "prod", *, creates: int = 0, modifies: int = 0, deletes: int = 0, **other: Any
) -> dict[str, Any]:
    """The facts of an action on files; `other` overrides leaves by name, and `resources` and `matrix` whole."""
    changes = creates + modifies + deletes
    plan = {"resources": changes, "creates": creates, "modifies": modifies, "deletes": deletes, "changes": changes}
    file = {"kind": "file", "risk_class": None, "monthly_cost": None, "known": False}
    facts: dict[str, Any] = {
        "tenant": {"id": "0193", "slug": "acme"},
        "environment": {"id": "0194", "slug": environment, "risk_class": ENVIRONMENTS.get(environment, "guarded")},
        "action": {
            "type": "modify_files",
            "security_level": "low",
            "risk_class": "guarded",
            "requester": "0195",
            "requester_kind": "person",
            "confidence": None,
            "accepted_in_advance": False,
            "is_undo": False,
        },
        "plan": {**plan, "reversible": changes, "lossy": 0, "irreversible": 0},
        "resources": [{**file, "name": f"file-{n}"} for n in range(changes)],
        "cost_delta": "0",
        "dependents": {"count": 0, "names": [], "more": False},
        "history": {"ended": 0, "failed": 0, "days": 30},
        "window": {"declared": False, "outside": False, "words": "", "local": ""},
        "weights": {},
        "matrix": dict.fromkeys(TIERS, APPROVER),
    }
    for name, value in other.items():
        parts = [] if name in ("resources", "matrix") else ["action", "plan", "environment"]
        where = next((part for part in parts if name in facts[part]), None)
        (facts[where] if where else facts)[name] = value
    return facts


def diagnostics(environment: str, **other: Any) -> dict[str, Any]:
    """The facts of an action that only reads."""
    return facts_of(environment, type="collect_diagnostics", **{"risk_class": "safe", **other})

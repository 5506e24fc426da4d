"""The facts a guard policy may read: typed, documented, versioned. An unknown name or type fails when saved.

Names are dotted variables, not maps, so that a typo is an error with a line and a column instead of a policy that never
matches. Adding a fact raises no version; removing or retyping one does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FACTS_VERSION = "interlock.facts/1"
MAX_RESOURCES = 1_000
FactKind = Literal["int", "double", "bool", "string", "timestamp", "resources", "strings"]


@dataclass(frozen=True)
class Fact:
    kind: FactKind
    what: str


FACTS: dict[str, Fact] = {
    "action.type": Fact("string", "the action type, such as `modify_files`"),
    "action.security_level": Fact(
        "string", "low, medium, high or critical, by type and parameters, or raised by a person"
    ),
    "action.risk_class": Fact("string", "safe, guarded or dangerous: the type's"),
    "action.confidence": Fact("double", "the confidence of the requester, 0 to 1; -1 if none was given"),
    "action.accepted_in_advance": Fact("bool", "whether the requester accepted any dry-run diff in advance"),
    "action.is_undo": Fact("bool", "whether it undoes an earlier action"),
    "action.mode": Fact("string", "apply, or simulate: then nothing is changed, and no approval is needed"),
    "plan.resources": Fact("int", "how many resources it touches"),
    "plan.changes": Fact("int", "how many changes it makes"),
    "plan.creates": Fact("int", "how many resources it creates"),
    "plan.modifies": Fact("int", "how many resources it modifies"),
    "plan.deletes": Fact("int", "how many resources it deletes"),
    "plan.steps": Fact("int", "how many steps it has"),
    "plan.reversible": Fact("int", "steps that can be undone exactly"),
    "plan.lossy": Fact("int", "steps whose undo loses something"),
    "plan.irreversible": Fact("int", "steps that cannot be undone"),
    "plan.cost_known": Fact("bool", "whether the monthly cost delta is known"),
    "plan.dependents": Fact("int", "resources that depend on those it touches, directly or not; 0 if none is known"),
    "plan.cost_delta": Fact("double", "the monthly cost delta; 0 if it is not known"),
    "resources": Fact(
        "resources",
        f"kind, name, risk_class, known of each; more than {MAX_RESOURCES:,} cannot be read, which is an error",
    ),
    "history.ended": Fact("int", "recent runs of the type on this target and environment: the last 20 of 30 days"),
    "history.failed": Fact("int", "how many of them failed or were rolled back"),
    "history.failure_rate": Fact("double", "their share, 0 to 1; 0 if there are none"),
    "window.declared": Fact("bool", "whether the environment declares working hours"),
    "window.outside": Fact("bool", "whether it is evaluated outside them"),
    "blast.score": Fact("int", "the blast radius, 0 to 100"),
    "blast.tier": Fact("string", "low, medium, high or critical: the effective tier"),
    "environment.name": Fact("string", "the environment's short name, such as `prod`"),
    "environment.risk_class": Fact("string", "safe, guarded or dangerous"),
    "requester.id": Fact("string", "the principal who proposed it"),
    "requester.kind": Fact("string", "person or agent"),
    "tenant.name": Fact("string", "the tenant's short name"),
    "now": Fact("timestamp", "the database's time; now.getHours('Europe/Berlin') gives an hour"),
}


def flatten_facts(facts: Mapping[str, Any], *, score: int, tier: str, now: str) -> dict[str, Any]:
    """Flatten the facts of `evaluate` for policies. `now`: RFC 3339, UTC. Raises KeyError for a missing fact."""
    action, plan, environment = facts["action"], facts["plan"], facts["environment"]
    delta = facts["cost_delta"]
    confidence = action["confidence"]
    return {
        "action.type": action["type"],
        "action.security_level": action["security_level"],
        "action.risk_class": action["risk_class"],
        "action.confidence": -1.0 if confidence is None else float(confidence),
        "action.accepted_in_advance": bool(action["accepted_in_advance"]),
        "action.is_undo": bool(action["is_undo"]),
        "action.mode": str(action.get("mode", "apply")),
        **{f"plan.{name}": int(plan[name]) for name in PLAN_COUNTERS},
        "plan.cost_known": delta is not None,
        "plan.cost_delta": float(delta or 0),
        **_resources(facts["resources"]),
        **_surroundings(facts),
        "blast.score": score,
        "blast.tier": tier,
        "environment.name": environment["slug"],
        "environment.risk_class": environment["risk_class"],
        "requester.id": action["requester"],
        "requester.kind": action["requester_kind"],
        "tenant.name": facts["tenant"]["slug"],
        "now": now,
    }


def _resources(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every resource, or none at all: a policy must not miss one because of a limit."""
    if len(found) > MAX_RESOURCES:
        return {}
    return {
        "resources": [
            {"kind": r["kind"], "name": r["name"], "risk_class": r["risk_class"], "known": bool(r["known"])}
            for r in found
        ]
    }


def _surroundings(facts: Mapping[str, Any]) -> dict[str, Any]:
    dependents, history, window = (_part(facts, name) for name in ("dependents", "history", "window"))
    ended, failed = int(history["ended"]), int(history["failed"])
    return {
        "plan.dependents": int(dependents["count"]),
        "history.ended": ended,
        "history.failed": failed,
        "history.failure_rate": failed / ended if ended else 0.0,
        "window.declared": bool(window["declared"]),
        "window.outside": bool(window["outside"]),
    }


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = facts[name]
    if not isinstance(part, Mapping):
        raise TypeError(f"{name} is not a map")
    return part


PLAN_COUNTERS = (
    "resources",
    "changes",
    "creates",
    "modifies",
    "deletes",
    "steps",
    "reversible",
    "lossy",
    "irreversible",
)

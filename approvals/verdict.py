"""The verdict of blast radius and matrix, and the built-in rules: facts in, verdict out. Pure: no clock, no database.

Policies read the same facts and add to the same reasons (`approvals.policies.apply`). Facts that are missing, malformed
or unknown deny. The built-in rules apply to changes of the rules, whatever policies and matrix say: such a change is
critical and takes at least two distinct people, so nobody changes rules alone and nobody is locked out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from approvals.blast.factors import changes_nothing
from approvals.blast.score import BlastRadius, effective_tier, make_reason, score_blast_radius

Outcome = Literal["deny", "require_approval", "allow"]
STRICTNESS: dict[str, int] = {"allow": 0, "require_approval": 1, "deny": 2}


@dataclass(frozen=True)
class Verdict:
    """`tier` is the effective one. `required_approvals` are {"role", "count"}.

    `acceptance`: only the requester decides, by accepting the dry-run diff. `reasons` are {"rule", "effect",
    "message"}, in the order in which they applied; effects are raise, require, allow and deny.

    `policy_results` holds the result of every guard policy, also of those that did not apply, in order:
    {"policy": id, "slug", "version", "effect", "mode", "required_approvals", "value": true, false or null, "error"}.
    """

    outcome: Outcome
    tier: str
    required_approvals: list[dict[str, Any]]
    acceptance: bool
    reasons: list[dict[str, str]]
    blast: BlastRadius
    policy_results: list[dict[str, Any]] = field(default_factory=list)


def evaluate_matrix(facts: Mapping[str, Any]) -> Verdict:
    """Evaluate one plan by its facts (their shape: docs/blast_radius.md).

    Raises nothing: facts that cannot be read are denied, and the reason says so.
    """
    try:
        blast = score_blast_radius(facts)
        tier, reasons = effective_tier(facts, blast)
        required_approvals = _required_by_matrix(facts["matrix"], tier)
        needs_acceptance = not changes_nothing(facts["plan"]) and not facts["action"]["accepted_in_advance"]
        slug, simulated = facts["environment"]["slug"], is_simulated(facts)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return _unreadable(error)
    if required_approvals is None:
        message = (
            f"The approval matrix has no row for {tier} changes in {slug}, so they are denied. "
            "A tenant admin can add the row."
        )
        return Verdict("deny", tier, [], False, [*reasons, make_reason("matrix", "deny", message)], blast)
    if simulated:
        return Verdict(
            "allow",
            tier,
            [],
            False,
            [*reasons, make_reason("simulation", "allow", _describe_simulated(required_approvals))],
            blast,
        )
    if required_approvals:
        required = describe_required_approvals(required_approvals)
        message = f"The approval matrix requires {required} for {tier} changes in {slug}."
        return Verdict(
            "require_approval",
            tier,
            required_approvals,
            False,
            [*reasons, make_reason("matrix", "require", message)],
            blast,
        )
    reasons = [
        *reasons,
        make_reason("matrix", "allow", f"The approval matrix requires no approval for {tier} changes in {slug}."),
    ]
    if needs_acceptance:
        message = "No approval needed, so the requester must accept the dry-run diff before it runs."
        return Verdict(
            "require_approval", tier, [], True, [*reasons, make_reason("acceptance", "require", message)], blast
        )
    return Verdict("allow", tier, [], False, reasons, blast)


def is_simulated(facts: Mapping[str, Any]) -> bool:
    """Whether the run would change nothing whatever its plan says."""
    return bool(facts["action"].get("mode", "apply") == "simulate")


def _describe_simulated(required_approvals: Sequence[Mapping[str, Any]]) -> str:
    real = (
        f"To apply it, the matrix requires {describe_required_approvals(required_approvals)}."
        if required_approvals
        else "The matrix requires no approval anyway."
    )
    return f"Simulated: nothing is changed and no approval is needed. {real}"


def is_stricter(new: Verdict, old_approvals: Sequence[Mapping[str, Any]], old_outcome: str) -> bool:
    """Whether the old verdict does not cover the new one: a stricter outcome, or an additional required approval."""
    if STRICTNESS[new.outcome] > STRICTNESS[old_outcome]:
        return True
    return bool(count_by_role(new.required_approvals) - count_by_role(old_approvals))


def count_by_role(required_approvals: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """How many people of each role are required. A role may be in several rows."""
    people: Counter[str] = Counter()
    for required in required_approvals:
        people[required["role"]] += required["count"]
    return people


def describe_required_approvals(required_approvals: Sequence[Mapping[str, Any]]) -> str:
    """Required approvals in words: "2 × approver, 1 × security"."""
    return ", ".join(f"{count} × {role}" for role, count in count_by_role(required_approvals).items())


def check_required_approvals(required_approvals: Any) -> list[dict[str, Any]]:
    """The required approvals, if they are a list of {"role": text, "count": whole number ≥ 1}. Raises ValueError:
    what is wrong.
    """
    if not isinstance(required_approvals, list):
        raise ValueError("Required approvals are a list of roles and counts.")
    for required in required_approvals:
        if not isinstance(required, dict) or set(required) != {"role", "count"}:
            raise ValueError("A required approval has a role and a count, and nothing else.")
        if not isinstance(required["role"], str) or not required["role"]:
            raise ValueError("A required approval names its role.")
        if type(required["count"]) is not int or required["count"] < 1:
            raise ValueError(f"The required approval for {required['role']} needs a count of at least 1.")
    return required_approvals


def _required_by_matrix(matrix: Mapping[str, Any], tier: str) -> list[dict[str, Any]] | None:
    return check_required_approvals(matrix[tier]) if tier in matrix else None


def _unreadable(error: Exception) -> Verdict:
    factor = {
        "name": "unreadable",
        "why": "the facts could not be read: the maximum is assumed",
        "points": 100,
        "max": 100,
    }
    message = (
        f"The facts of this action could not be evaluated ({type(error).__name__}: {error}), so the action is denied."
    )
    return Verdict(
        "deny", "critical", [], False, [make_reason("facts", "deny", message)], BlastRadius(100, "critical", [factor])
    )


# The built-in rules: no policy and no matrix overrides them.


CONFIG_CHANGE = "config_change"
CLEAR_QUARANTINE = "clear_quarantine"
MIN_PEOPLE = 2
FALLBACK: tuple[Mapping[str, Any], ...] = ({"role": "approver", "count": MIN_PEOPLE},)


def is_rule_change(facts: Mapping[str, Any]) -> bool:
    """Whether the action changes rules: then policies only warn, and `approvals_for_rule_change` names who decides."""
    return bool(facts["action"]["type"] == CONFIG_CHANGE)


def approvals_for_rule_change(matrix: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The required approvals of a rule change by the environment's matrix {tier: required approvals}, and a sentence
    that says why. Raises nothing.
    """
    row = matrix.get("critical")
    if requires_enough_people(row):
        required_approvals = [dict(required) for required in row or ()]
        return required_approvals, "A policy change needs the approvals of the critical row of the approval matrix."
    why = "requires fewer" if "critical" in matrix else "is missing"
    return [dict(required) for required in FALLBACK], (
        f"A policy change needs at least {MIN_PEOPLE} people, and the critical row of the approval matrix {why}; "
        f"so {MIN_PEOPLE} approvers decide."
    )


def approvals_for_clearing_quarantine(required_approvals: Any) -> tuple[list[dict[str, Any]], str]:
    """The required approvals for clearing a quarantine, and why where the matrix requires none: a second person must
    approve.
    """
    if required_approvals:
        return [dict(required) for required in required_approvals], ""
    why = "Clearing a quarantine needs a second person; the approval matrix requires none, so an approver decides."
    return [{"role": "approver", "count": 1}], why


def requires_enough_people(row: Any) -> bool:
    """Whether a critical row of the matrix (None: no row) requires as many people as a rule change needs."""
    return _people(row) >= MIN_PEOPLE


def _people(row: Any) -> int:
    """How many people a row requires; 0 for one that cannot be read."""
    try:
        counts = [required["count"] for required in row if isinstance(required["role"], str) and required["role"]]
    except (TypeError, LookupError):
        return 0
    if len(counts) != len(row) or any(type(count) is not int or count < 1 for count in counts):
        return 0
    return sum(counts)

"""
What guard policies do to a verdict. Pure: rulings in, verdict out. A policy can only make a verdict harsher, except
`allow_autonomous`, which has its own narrow conditions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from approvals.judge import Verdict, is_simulated, words

CONFIDENT = 0.8
"""What a proposal must claim at least to run unattended, where its environment sets nothing else."""
CONFIG_CHANGE = "config_change"
"""Changes of the rules themselves: policies may only warn about them, so that no policy can lock everybody out."""


@dataclass(frozen=True)
class Ruled:
    """One policy, and what it came to on one set of facts: True, False, or None with the error."""

    slug: str
    version: int
    effect: str
    mode: str
    message: str
    seats: tuple[Mapping[str, Any], ...]
    value: bool | None
    error: str = ""
    policy: str = ""
    """The policy's id, so that its history can be found."""

    @property
    def rule(self) -> str:
        return f"policy {self.slug} v{self.version}"

    def as_ruling(self) -> dict[str, Any]:
        """What the verdict keeps of it; the words are the version's, which never change."""
        return {
            "policy": self.policy,
            "slug": self.slug,
            "version": self.version,
            "effect": self.effect,
            "mode": self.mode,
            "seats": [dict(seat) for seat in self.seats],
            "value": self.value,
            "error": self.error,
        }


def under_policies(base: Verdict, ruled: Sequence[Ruled], facts: Mapping[str, Any]) -> Verdict:
    """The verdict after the policies: denied by any that denies or errs, with every seat that one requires added."""
    verdict = replace(base, reasons=[*base.reasons], rulings=[r.as_ruling() for r in ruled])
    softened = facts["action"]["type"] == CONFIG_CHANGE
    required: list[dict[str, Any]] = []
    denied = False
    for r in ruled:
        if r.value is False and not r.error:
            continue
        effect = _effect_of(r, softened)
        verdict.reasons.append({"rule": r.rule, "effect": effect, "message": _message(r, softened)})
        denied = denied or effect == "deny"
        if effect == "require":
            required += [dict(seat) for seat in r.seats]
    if denied or base.outcome == "deny":
        return replace(verdict, outcome="deny", seats=[], acceptance=False)
    if required:
        return replace(verdict, outcome="hold", seats=[*base.seats, *required], acceptance=False)
    return verdict if softened else _unattended(verdict, ruled, facts)


def _effect_of(r: Ruled, softened: bool) -> str:
    if r.mode == "shadow":
        return "shadow"
    if softened and r.effect in ("deny", "require"):
        return "warn"
    if r.error or r.value is not True:
        return "warn" if softened else "deny"
    return {"allow_autonomous": "autonomous"}.get(r.effect, r.effect)


def _message(r: Ruled, softened: bool) -> str:
    if r.error:
        done = "It is only reported." if r.mode == "shadow" or softened else "A rule that errs denies."
        return f"It could not be evaluated: {r.error} {done}"
    if r.mode == "shadow":
        return f"In shadow: it would {_would(r)}. {r.message}".strip()
    return r.message or {"require": f"Asks for {words(list(r.seats))} besides."}.get(r.effect, "It applies.")


def _would(r: Ruled) -> str:
    if r.effect == "require":
        return f"ask for {words(list(r.seats))} besides"
    return {"deny": "deny this", "warn": "warn", "allow_autonomous": "let this run unattended"}[r.effect]


def _unattended(verdict: Verdict, ruled: Sequence[Ruled], facts: Mapping[str, Any]) -> Verdict:
    """Let a safe, confident proposal run unattended where a policy says so; keep agents to proposals elsewhere."""
    action, place = facts["action"], facts["environment"]
    only_recommends = bool(place.get("recommendation_only", True))
    says_so = [
        r for r in ruled if r.effect == "allow_autonomous" and r.mode == "enforce" and r.value is True and not r.error
    ]
    if says_so:
        why_not = _why_not(action, place, only_recommends)
        reason = {"rule": "autonomy", "effect": "warn" if why_not else "allow", "message": why_not or RUNS}
        verdict.reasons.append(reason)
        if not why_not:
            return replace(verdict, outcome="allow", seats=[], acceptance=False)
    real = not is_simulated(facts)
    if verdict.outcome == "allow" and only_recommends and action["requester_kind"] == "agent" and real:
        verdict.reasons.append({"rule": "autonomy", "effect": "require", "message": RECOMMENDS})
        return replace(verdict, outcome="hold", acceptance=True)
    return verdict


RUNS = "It is safe, confident, and a policy lets it run unattended."
RECOMMENDS = "In this environment agents only recommend: its owner accepts what it proposes."


def _why_not(action: Mapping[str, Any], place: Mapping[str, Any], only_recommends: bool) -> str:
    if only_recommends:
        return "A policy would let it run unattended, but this environment takes recommendations only."
    if action["risk_class"] != "safe":
        return f"A policy would let it run unattended, but it is {action['risk_class']}, and only safe types may."
    least, claimed = float(place.get("confident", CONFIDENT)), action.get("confidence")
    if claimed is None or claimed < least:
        said = "nothing was claimed" if claimed is None else f"{claimed:g} was claimed"
        return f"A policy would let it run unattended, but that takes a confidence of {least:g}, and {said}."
    return ""

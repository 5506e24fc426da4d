"""What each guard policy came to on one action, from the verdict that was stored."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Q

from actions.models import Action
from approvals.models import PolicyVersion
from approvals.policies.policy_text import describe_effect, describe_shadow_effect
from approvals.verdict import CONFIG_CHANGE

RULE = re.compile(r"policy (?P<slug>[a-z0-9-]+) v(?P<version>\d+)")
SOFTENED = ("deny", "require")


def policies_of(action: Action, verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every policy that was asked, in the order of evaluation, with its words as they were then. One query."""
    policy_results = verdict.get("policy_results")
    found = list(policy_results) if policy_results is not None else list(_from_reasons(verdict.get("reasons", [])))
    versions = _versions(action, found)
    reasons = {r["rule"]: r["message"] for r in verdict.get("reasons", [])}
    autonomy = reasons.get("autonomy", "")
    return [_told(r, versions.get((r["slug"], r["version"])), action, reasons, autonomy) for r in found]


def _from_reasons(reasons: Iterable[Mapping[str, str]]) -> Iterable[dict[str, Any]]:
    """The policies that an older verdict names: only those that applied."""
    for reason in reasons:
        match = RULE.fullmatch(reason["rule"])
        if match:
            is_shadow = reason["effect"] == "shadow"
            yield {
                "policy": "",
                "slug": match["slug"],
                "version": int(match["version"]),
                "effect": "",
                "mode": "shadow" if is_shadow else "enforce",
                "required_approvals": [],
                "value": True,
                "error": "",
            }


def _versions(action: Action, policy_results: list[dict[str, Any]]) -> dict[tuple[str, int], PolicyVersion]:
    """The versions that were asked, by slug and number; the tenant's own before a global one of the same name."""
    if not policy_results:
        return {}
    named = Q(policy__slug__in={r["slug"] for r in policy_results}, version__in={r["version"] for r in policy_results})
    scope = Q(policy__tenant=None) | Q(policy__tenant=action.tenant_id)
    joined = PolicyVersion.objects.filter(named, scope, published_at__isnull=False).select_related("policy")
    by_id = {(str(it.policy_id), it.version): it for it in joined}
    found = {(it.policy.slug, it.version): it for it in sorted(by_id.values(), key=lambda it: not it.policy.is_global)}
    for r in policy_results:
        exact = by_id.get((r["policy"], r["version"]))
        if exact:
            found[r["slug"], r["version"]] = exact
    return found


def _told(
    r: Mapping[str, Any], version: PolicyVersion | None, action: Action, reasons: Mapping[str, str], autonomy: str
) -> dict[str, Any]:
    effect = r["effect"] or (version.effect if version else "")
    required_approvals = r["required_approvals"] or (version.required_approvals if version else [])
    softened = action.type == CONFIG_CHANGE and effect in SOFTENED
    failed = bool(r["error"]) or r["value"] is None
    applies = r["value"] is True and not failed
    counts = r["mode"] == "enforce" and action.type != CONFIG_CHANGE
    return {
        "id": r["policy"] or (str(version.policy_id) if version else None),
        "slug": r["slug"],
        "version": r["version"],
        "effect": effect,
        "mode": r["mode"],
        "required_approvals": required_approvals,
        "ruling": "error" if failed else "true" if applies else "false",
        "error": r["error"],
        "applies": applies and not softened,
        "denies": counts and (failed or (applies and effect == "deny")),
        "words": _words(r, effect, required_approvals, softened, action.type == CONFIG_CHANGE, autonomy),
        "message": version.message if version else reasons.get(f"policy {r['slug']} v{r['version']}", ""),
        "expression": version.expression if version else "",
        "is_global": version.policy.is_global if version else False,
        "overridable": version.overridable if version else False,
        "is_in_force": version is not None and version.state == "published",
    }


def _words(
    r: Mapping[str, Any],
    effect: str,
    required_approvals: list[dict[str, Any]],
    softened: bool,
    about_rules: bool,
    autonomy: str,
) -> str:
    is_shadow = r["mode"] == "shadow"
    if r["error"] or r["value"] is None:
        lenient = is_shadow or about_rules
        done = "That is only noted." if lenient else "A rule that errs denies."
        return f"It could not be evaluated: {r['error'] or 'it gave no answer.'} {done}"
    if r["value"] is False:
        return "It was not true of this action, so nothing followed from it."
    if is_shadow:
        return f"It {describe_shadow_effect(effect, required_approvals)}. It is in shadow, so nothing followed from it."
    if softened:
        return "It only warns here: policies never stop a change of the rules, so that none locks everybody out."
    if effect == "allow_autonomous" and autonomy:
        return autonomy
    said = describe_effect(effect, required_approvals) if effect else "applied"
    return f"It was true of this action: it {said}."

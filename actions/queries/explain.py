"""
Explain a verdict: one sentence, what raised the tier, each policy, each required approval, and when.

Reads the stored verdict and evaluates nothing again. Pages and API show the same.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q

from actions.lifecycle.allowed import latest_request
from actions.models import Action, Plan
from actions.models.states import HeldReason
from approvals.models import PolicyVersion, Request
from approvals.policies.fact_schema import FACTS, flatten_facts
from approvals.policies.policy_text import describe_effect, describe_shadow_effect
from approvals.quorum.count import count_quorum, filled_approvals
from approvals.verdict import CONFIG_CHANGE, describe_required_approvals
from audit.log.subjects import names_of_event_actors
from audit.models import Event
from tenants.models import Principal

MOMENTS = ("policy.evaluated", "action.start", "action.reopen", "action.hold", "action.fail")
MAX_MOMENTS = 50


def explain(action: Action) -> dict[str, Any]:
    """
    The explanation of an action's verdict; `action` as `find_action` returns it.

    The keys are those of `actions.api.plans.ExplanationOut`. A fixed number of queries, for any number of policies.
    """
    plan = action.plan
    verdict: dict[str, Any] = plan.verdict if plan else {}
    policies = explain_policies(action, verdict)
    required_approvals = approvals_of(action, verdict, policies)
    return {
        "sentence": describe_verdict(action, verdict, policies, required_approvals),
        "next": describe_next(action, verdict, policies),
        "outcome": verdict.get("outcome"),
        "tier": verdict.get("tier"),
        "raises": tier_reasons(plan),
        "blast": explain_blast(plan),
        "policies": policies,
        "required_approvals": required_approvals,
        "acceptance": bool(verdict.get("acceptance")),
        "moments": moments_of(action),
        "plan": {"version": plan.version, "digest": plan.digest, "at": plan.created_at} if plan else None,
        "facts_sha256": verdict.get("facts_sha256"),
        "facts": facts_of(plan),
    }


def tier_reasons(plan: Plan | None) -> list[dict[str, str]]:
    """The sources of the tier: first the blast radius, then each thing that raised it."""
    reasons = plan.verdict.get("reasons", []) if plan else []
    return [{"rule": r["rule"], "message": r["message"]} for r in reasons if r["effect"] == "raise"]


def explain_blast(plan: Plan | None) -> dict[str, Any] | None:
    """The score with its factors, most points first, and what would lower the tier."""
    if plan is None or not plan.blast:
        return None
    factors = [
        {**{key: f[key] for key in ("name", "why", "points", "max")}, "label": f["name"].replace("_", " ").capitalize()}
        for f in plan.blast.get("factors", [])
    ]
    lower = [{key: it[key] for key in ("what", "score", "tier")} for it in plan.blast.get("lower") or []]
    factors.sort(key=lambda f: -f["points"])
    return {"score": plan.blast["score"], "tier": plan.blast["tier"], "factors": factors, "lower": lower}


def approvals_of(
    action: Action, verdict: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each row of required approvals: its source, and who filled it. Counted as the request counts them."""
    asked = latest_request(action) if verdict else None
    is_same = (
        asked is not None
        and asked.kind == Request.Kind.APPROVAL
        and asked.required_approvals == verdict.get("required_approvals")
    )
    rows = [row["by"] for row in filled_approvals(count_quorum(asked))] if asked is not None and is_same else []
    people = Principal.objects.in_bulk([d.principal_id for row in rows for d in row]) if any(rows) else {}
    return [
        {
            **required,
            "because": because,
            "by": [{"name": str(people[d.principal_id]), "at": d.at} for d in (rows[n] if rows else [])],
            "open": required["count"] - len(rows[n]) if rows else required["count"],
        }
        for n, (required, because) in enumerate(_asked_by(action, verdict, policies))
    ]


def _asked_by(
    action: Action, verdict: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]
) -> list[tuple[dict[str, Any], str]]:
    """
    The required approvals with their source: the matrix or the built-in rule first, then each policy that requires
    some.
    """
    required_approvals = verdict.get("required_approvals", [])
    asking = [p for p in policies if p["applies"] and p["effect"] == "require" and p["mode"] == "enforce"]
    added = (
        [(required, p) for p in asking for required in p["required_approvals"]] if action.type != CONFIG_CHANGE else []
    )
    first = len(required_approvals) - len(added)
    if first < 0 or [required for required, _ in added] != required_approvals[first:]:
        first, added = len(required_approvals), []
    tier, place = verdict.get("tier", ""), action.environment.slug
    base = f"The row of the approval matrix for {tier} changes in {place}."
    if action.type == CONFIG_CHANGE:
        base = "Built-in: a policy change needs at least two people, whatever the matrix says."
    own = [(dict(required), base) for required in required_approvals[:first]]
    return [
        *own,
        *((dict(required), f"Policy {p['slug']} v{p['version']} requires it in addition.") for required, p in added),
    ]


def moments_of(action: Action) -> list[dict[str, Any]]:
    """When it was evaluated, in order, by the events of the action. One query, and one for names."""
    found = Event.objects.filter(
        tenant=action.tenant_id, subject_kind="action", subject_id=action.pk, verb__in=MOMENTS
    ).order_by("seq")[:MAX_MOMENTS]
    events = [(event, json.loads(bytes(event.body))["facts"]) for event in found]
    moments = [(event, facts, _moment(event, facts)) for event, facts in events]
    names = names_of_event_actors(action.tenant_id, [event for event, _, moment in moments if moment])
    return [
        {
            "seq": event.seq,
            "at": event.at,
            "when": moment[0],
            "what": moment[1],
            "by": names.get(event.actor, ""),
            "facts_sha256": facts.get("facts_sha256"),
        }
        for event, facts, moment in moments
        if moment
    ]


def _moment(event: Event, facts: Mapping[str, Any]) -> tuple[str, str] | None:
    """The occasion and the result of an evaluation; None for other events."""
    if event.verb == "policy.evaluated":
        when = "preflight" if event.actor == "system:decide" else facts.get("at", "start")
        done = {"deny": "Denied", "require_approval": "Approval required", "allow": "Allowed"}.get(
            facts.get("outcome", ""), "Evaluated"
        )
        return when, f"{done}; effective tier {facts.get('tier', 'unknown')}."
    if event.verb == "action.start":
        return "start", "Evaluated again on the current state: not stricter than approved."
    if event.verb == "action.reopen":
        return "start", {
            "stricter": "The verdict became stricter: approvals void, approval requested again.",
            "drift": "Drift: approvals void, approval requested again.",
        }.get(facts.get("because", ""), "An approver was no longer eligible; approval was requested again.")
    if event.verb == "action.hold" and facts.get("reason") in ("policy", "risk_spike"):
        return "checkpoint", "Policies no longer allowed it, so it was held before the next step."
    return None


def facts_of(plan: Plan | None) -> list[dict[str, Any]]:
    """The evaluated facts, by the names that policies read: {"name", "kind", "what", "value"}; [] if unknown."""
    if plan is None or not plan.facts:
        return []
    try:
        at: datetime = plan.created_at
        score, tier = plan.blast["score"], plan.verdict["tier"]
        read = flatten_facts(plan.facts, score=score, tier=tier, now=at.isoformat())
    except (LookupError, TypeError, ValueError, AttributeError):
        return []
    return [
        {"name": name, "kind": fact.kind, "what": fact.what, "value": read[name]}
        for name, fact in FACTS.items()
        if name in read
    ]


# The result of each policy, from the stored verdict.


SOFTENED = ("deny", "require")


def explain_policies(action: Action, verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every evaluated policy, in order, in its wording of that time. One query."""
    results = verdict.get("policy_results", [])
    versions = _versions(action, results)
    reasons = {r["rule"]: r["message"] for r in verdict.get("reasons", [])}
    autonomy = reasons.get("autonomy", "")
    return [_policy_row(r, versions.get((r["policy"], r["version"])), action, reasons, autonomy) for r in results]


def _versions(action: Action, policy_results: list[dict[str, Any]]) -> dict[tuple[str, int], PolicyVersion]:
    """The evaluated versions, by policy id and number."""
    if not policy_results:
        return {}
    scope = Q(policy__tenant=None) | Q(policy__tenant=action.tenant_id)
    named = Q(policy__in={r["policy"] for r in policy_results}, version__in={r["version"] for r in policy_results})
    found = PolicyVersion.objects.filter(named, scope, published_at__isnull=False).select_related("policy")
    return {(str(it.policy_id), it.version): it for it in found}


def _policy_row(
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
        "result": "error" if failed else "true" if applies else "false",
        "error": r["error"],
        "applies": applies and not softened,
        "denies": counts and (failed or (applies and effect == "deny")),
        "words": _policy_text(r, effect, required_approvals, softened, action.type == CONFIG_CHANGE, autonomy),
        "message": version.message if version else reasons.get(f"policy {r['slug']} v{r['version']}", ""),
        "expression": version.expression if version else "",
        "is_global": version.policy.is_global if version else False,
        "overridable": version.overridable if version else False,
        "is_in_force": version is not None and version.state == "published",
    }


def _policy_text(
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
        done = "It is only recorded." if lenient else "A policy that fails to evaluate denies."
        return f"It could not be evaluated: {r['error'] or 'it returned no value.'} {done}"
    if r["value"] is False:
        return "It did not match this action: no effect."
    if is_shadow:
        return f"It {describe_shadow_effect(effect, required_approvals)}. Shadow mode: no effect."
    if softened:
        return "It only warns here: policies never block policy changes, so that no policy can lock everyone out."
    if effect == "allow_autonomous" and autonomy:
        return autonomy
    moment = describe_effect(effect, required_approvals) if effect else "applied"
    return f"It matched this action: it {moment}."


# The verdict in one sentence, and the next step. Pure.


Policies = Sequence[Mapping[str, Any]]


def describe_verdict(
    action: Action, verdict: Mapping[str, Any], policies: Policies, required_approvals: Sequence[Mapping[str, Any]]
) -> str:
    """Why the action is in its state; if a policy stopped it, the sentence begins with that policy."""
    error = (action.error or {}).get("message", "")
    if action.state == "held":
        return _held(action, error)
    if not verdict:
        return _unjudged(action, error)
    if verdict["outcome"] == "deny":
        return _denied(verdict, policies)
    if verdict["outcome"] == "allow":
        autonomous = any(r["rule"] == "autonomy" and r["effect"] == "allow" for r in verdict["reasons"])
        if autonomous:
            names = " and ".join(_name(p) for p in policies if p["effect"] == "allow_autonomous" and p["applies"])
            return f"Runs without approval: {names or 'a policy'} allows it; risk class and confidence suffice."
        if action.simulated:
            return "No approval needed: simulated, nothing is changed."
        return f"No approval needed: the approval matrix requires none for {_where(action, verdict)}."
    if verdict["acceptance"]:
        return "No approval needed; the requester must accept the dry-run diff before it runs."
    return _asked(action, verdict, policies, required_approvals)


def describe_next(action: Action, verdict: Mapping[str, Any], policies: Policies) -> str:
    """The next step for people; empty if there is none."""
    place = action.environment.slug
    if action.state == "held":
        if action.held_reason in ("policy", "risk_spike"):
            return (
                f"An operator of {place} can roll it back on the run page. It can resume once the policy allows it: "
                "an admin of the tenant proposes that under Policies."
            )
        return f"An operator of {place} must resolve it on the run page."
    if verdict.get("outcome") == "deny":
        return _after_denial(verdict, policies)
    if action.state == "awaiting_approval":
        if verdict.get("acceptance"):
            return "The requester accepts the diff on the review page, or withdraws the action."
        return (
            "People with these roles decide on the review page. "
            "The requester and the owner of a requesting agent are not eligible."
        )
    if action.state == "rejected":
        return "Read why it was rejected, change it, and propose it again."
    if action.state == "expired":
        return "Not decided in time. Propose it again."
    return ""


def _held(action: Action, error: str) -> str:
    if action.held_reason in ("policy", "risk_spike"):
        return f"Held at a checkpoint by {error}" if error else "Held at a checkpoint: the verdict became stricter."
    return f"Held, not by a policy: {HeldReason(action.held_reason).label}. {error}".strip()


def _unjudged(action: Action, error: str) -> str:
    if action.state in ("queued", "preflight"):
        return "Not evaluated yet: preflight runs first."
    if error:
        return f"Never evaluated: planning failed: {error}"
    return f"Never evaluated: it was {str(action.state).replace('_', ' ')} before there was a plan."


def _denied(verdict: Mapping[str, Any], policies: Policies) -> str:
    denying = [p for p in policies if p["denies"]]
    reasons = {r["rule"]: r["message"] for r in verdict["reasons"] if r["effect"] == "deny"}
    if not denying:
        return f"Denied: {' '.join(reasons.values()) or 'the policies do not allow it.'}"
    first = denying[0]
    message = reasons.get(f"policy {first['slug']} v{first['version']}", first["message"])
    others = [_name(p) for p in denying[1:]] + (["the approval matrix"] if "matrix" in reasons else [])
    return f"Denied by {_name(first)}: {message}" + (f" Also by {' and '.join(others)}." if others else "")


def _after_denial(verdict: Mapping[str, Any], policies: Policies) -> str:
    denying = [p for p in policies if p["denies"]]
    if any(p["result"] == "error" for p in denying):
        return "An admin of the tenant repairs or retires the policy under Policies. Then propose it again."
    if denying:
        return (
            "Change the action so that the policy no longer matches, and propose it again. If the policy "
            "is wrong, an admin of the tenant proposes a new version under Policies."
        )
    if any(r["rule"] == "matrix" and r["effect"] == "deny" for r in verdict["reasons"]):
        return (
            "An admin of the environment drafts the missing row under Policies, Approval matrix. Then propose it again."
        )
    return "An admin of the tenant checks the facts below. Then propose it again."


def _asked(
    action: Action, verdict: Mapping[str, Any], policies: Policies, required_approvals: Sequence[Mapping[str, Any]]
) -> str:
    needed = sum(required["count"] for required in required_approvals)
    have = needed - sum(required["open"] for required in required_approvals)
    asking = [_name(p) for p in policies if p["effect"] == "require" and p["applies"] and p["mode"] == "enforce"]
    because = f" It is {_where(action, verdict)}" + (f", and {' and '.join(asking)} requires more." if asking else ".")
    moment = f"Requires {describe_required_approvals(verdict['required_approvals'])}." + because
    filled = f"{have} of {needed} required approval{'' if needed == 1 else 's'} {'is' if have == 1 else 'are'} filled."
    return f"{moment} {filled}"


def _where(action: Action, verdict: Mapping[str, Any]) -> str:
    return f"{_article(verdict['tier'])} {verdict['tier']} change in {action.environment.slug}"


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"


def _name(policy: Mapping[str, Any]) -> str:
    return f"policy {policy['slug']} v{policy['version']}"

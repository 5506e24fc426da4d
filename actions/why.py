"""
Why an action was judged as it was: the verdict in one sentence, what raised its tier, each policy, each required
approval, and when.

Everything is read from what was stored when it was judged; nothing is judged again. Pages and API show the same.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from actions.models import Action, Plan
from actions.verbs import request_of
from actions.why_policies import policies_of
from actions.why_words import next_words, sentence_of
from approvals.models import Request
from approvals.policies.fact_schema import FACTS, flatten_facts
from approvals.quorum.count import count_quorum, filled_approvals
from approvals.verdict import CONFIG_CHANGE
from audit.log.subjects import names_of_event_actors
from audit.models import Event
from tenants.models import Principal

MOMENTS = ("policy.evaluated", "action.start", "action.reopen", "action.hold", "action.fail")
MOST_MOMENTS = 50


def why(action: Action) -> dict[str, Any]:
    """Everything about the judgement of an action that the caller may view; `action` as `verbs.find` returns it.

    The keys are those of `actions.api.why.WhyOut`. A fixed number of queries, whatever the number of policies.
    """
    plan = action.plan
    verdict: dict[str, Any] = plan.verdict if plan else {}
    policies = policies_of(action, verdict)
    required_approvals = approvals_of(action, verdict, policies)
    return {
        "sentence": sentence_of(action, verdict, policies, required_approvals),
        "next": next_words(action, verdict, policies),
        "outcome": verdict.get("outcome"),
        "tier": verdict.get("tier"),
        "raises": raises_of(plan),
        "blast": blast_of(plan),
        "policies": policies,
        "required_approvals": required_approvals,
        "acceptance": bool(verdict.get("acceptance")),
        "moments": moments_of(action),
        "plan": {"version": plan.version, "digest": plan.digest, "at": plan.created_at} if plan else None,
        "facts_sha256": verdict.get("facts_sha256"),
        "facts": facts_of(plan),
    }


def raises_of(plan: Plan | None) -> list[dict[str, str]]:
    """What made the tier, first the blast radius, then each thing that raised it."""
    reasons = plan.verdict.get("reasons", []) if plan else []
    return [{"rule": r["rule"], "message": r["message"]} for r in reasons if r["effect"] == "raise"]


def blast_of(plan: Plan | None) -> dict[str, Any] | None:
    """The score with its factors, most points first, and what would lower the tier, as far as the plan says it."""
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
    """Each row of required approvals: who asked for it, and who filled it. Counted as the request counts them."""
    asked = request_of(action) if verdict else None
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
    """The required approvals with who asked for them: the matrix or the built-in rule first, then each policy that
    requires some.
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
        base = "The built-in rule about changes of the rules: at least two people, whatever the matrix says."
    own = [(dict(required), base) for required in required_approvals[:first]]
    return [
        *own,
        *((dict(required), f"Policy {p['slug']} v{p['version']} asks for it besides.") for required, p in added),
    ]


def moments_of(action: Action) -> list[dict[str, Any]]:
    """When it was judged, in order: the events on the action that say so. One query, and one for names."""
    found = Event.objects.filter(
        tenant=action.tenant_id, subject_kind="action", subject_id=action.pk, verb__in=MOMENTS
    ).order_by("seq")[:MOST_MOMENTS]
    events = [(event, json.loads(bytes(event.body))["facts"]) for event in found]
    told = [(event, facts, _moment(event, facts)) for event, facts in events]
    names = names_of_event_actors(action.tenant_id, [event for event, _, said in told if said])
    return [
        {
            "seq": event.seq,
            "at": event.at,
            "when": said[0],
            "what": said[1],
            "by": names.get(event.actor, ""),
            "facts_sha256": facts.get("facts_sha256"),
        }
        for event, facts, said in told
        if said
    ]


def _moment(event: Event, facts: Mapping[str, Any]) -> tuple[str, str] | None:
    """At which point it was judged, and what came of it; None for an event that was no judgement."""
    if event.verb == "policy.evaluated":
        when = "preflight" if event.actor == "system:decide" else facts.get("at", "start")
        done = {"deny": "denied", "require_approval": "held for people", "allow": "let through"}.get(
            facts.get("outcome", ""), "judged"
        )
        return when, f"It was {done}; the tier was {facts.get('tier', 'not known')}."
    if event.verb == "action.start":
        return "start", "The targets were read and judged again: nothing was stricter than what was approved."
    if event.verb == "action.reopen":
        return "start", {
            "stricter": "The verdict had become stricter, so the approvals were void and people were asked again.",
            "drift": "The target had changed, so the approvals were void and people were asked again.",
        }.get(facts.get("because", ""), "Who approved could no longer do so, and people were asked again.")
    if event.verb == "action.hold" and facts.get("reason") in ("policy", "risk_spike"):
        return "checkpoint", "The rules no longer let it go on, so it was held before the next step."
    return None


def facts_of(plan: Plan | None) -> list[dict[str, Any]]:
    """The facts that were judged, by the names that policies read: {"name", "kind", "what", "value"}; [] if unknown."""
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

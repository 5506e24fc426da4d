"""The verdict on an action in one sentence, and what can be done next. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from actions.models import Action
from approvals.verdict import describe_required_approvals

Policies = Sequence[Mapping[str, Any]]


def sentence_of(
    action: Action, verdict: Mapping[str, Any], policies: Policies, required_approvals: Sequence[Mapping[str, Any]]
) -> str:
    """Why it is where it is; of what is stopped, the first thing it says is which rule stopped it."""
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
            return f"It runs unattended: {names or 'a policy'} lets it, and it is safe and confident enough."
        if action.simulated:
            return "Nobody has to approve it: it is simulated, so nothing is changed."
        return f"Nobody has to approve it: the matrix asks nobody for {_where(action, verdict)}."
    if verdict["acceptance"]:
        return "Nobody else is asked; its requester has to accept the dry-run diff before it runs."
    return _asked(action, verdict, policies, required_approvals)


def next_words(action: Action, verdict: Mapping[str, Any], policies: Policies) -> str:
    """What can be done about it now; empty where nothing needs doing."""
    place = action.environment.slug
    if action.state == "held":
        if action.held_reason in ("policy", "risk_spike"):
            return (
                f"Who operates {place} rolls it back on its run page. It can go on once the rule lets it again: "
                "who administers the tenant proposes that under Rules."
            )
        return f"Who operates {place} says on its run page how to go on."
    if verdict.get("outcome") == "deny":
        return _after_denial(verdict, policies)
    if action.state == "awaiting_approval":
        if verdict.get("acceptance"):
            return "Its requester accepts the diff on its review page, or withdraws it."
        return (
            "People who hold these roles decide on its review page. Its requester, and who answers for it, never count."
        )
    if action.state == "rejected":
        return "Read why it was rejected, change it, and propose it again."
    if action.state == "expired":
        return "Nobody decided in time, and silence is never consent. Propose it again."
    return ""


def _held(action: Action, error: str) -> str:
    if action.held_reason in ("policy", "risk_spike"):
        return f"Held at a checkpoint by {error}" if error else "Held at a checkpoint: the rules became stricter."
    said = str(action.held_reason).replace("_", " ")
    return f"Held, but not by a rule: {said}. {error}".strip()


def _unjudged(action: Action, error: str) -> str:
    if action.state in ("queued", "preflight"):
        return "It is not judged yet: the dry run comes first."
    if error:
        return f"It was never judged, because no plan could be made: {error}"
    return f"It was never judged: it was {str(action.state).replace('_', ' ')} before there was a plan."


def _denied(verdict: Mapping[str, Any], policies: Policies) -> str:
    denying = [p for p in policies if p["denies"]]
    reasons = {r["rule"]: r["message"] for r in verdict["reasons"] if r["effect"] == "deny"}
    if not denying:
        return f"Denied: {' '.join(reasons.values()) or 'the rules do not allow it.'}"
    first = denying[0]
    message = reasons.get(f"policy {first['slug']} v{first['version']}", first["message"])
    others = [_name(p) for p in denying[1:]] + (["the approval matrix"] if "matrix" in reasons else [])
    return f"Denied by {_name(first)}: {message}" + (f" Also by {' and '.join(others)}." if others else "")


def _after_denial(verdict: Mapping[str, Any], policies: Policies) -> str:
    denying = [p for p in policies if p["denies"]]
    if any(p["ruling"] == "error" for p in denying):
        return "Who administers the tenant repairs or retires the policy under Rules; then propose it again."
    if denying:
        return (
            "Change what it would do so that the policy is no longer true of it, and propose it again. If the policy "
            "is wrong, who administers the tenant proposes a better version under Rules."
        )
    if any(r["rule"] == "matrix" and r["effect"] == "deny" for r in verdict["reasons"]):
        return "Who administers the environment drafts the missing row under Rules, Matrix. Then propose it again."
    return "Who administers the tenant looks at the facts below. Then propose it again."


def _asked(
    action: Action, verdict: Mapping[str, Any], policies: Policies, required_approvals: Sequence[Mapping[str, Any]]
) -> str:
    needed = sum(required["count"] for required in required_approvals)
    have = needed - sum(required["open"] for required in required_approvals)
    asking = [_name(p) for p in policies if p["effect"] == "require" and p["applies"] and p["mode"] == "enforce"]
    because = f" It is {_where(action, verdict)}" + (f", and {' and '.join(asking)} asks for more." if asking else ".")
    said = f"It needs {describe_required_approvals(verdict['required_approvals'])}." + because
    filled = f"{have} of {needed} required approval{'' if needed == 1 else 's'} {'is' if have == 1 else 'are'} filled."
    return f"{said} {filled}"


def _where(action: Action, verdict: Mapping[str, Any]) -> str:
    return f"{_article(verdict['tier'])} {verdict['tier']} change in {action.environment.slug}"


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"


def _name(policy: Mapping[str, Any]) -> str:
    return f"policy {policy['slug']} v{policy['version']}"

"""The text of a policy: its fields, their checks, the YAML that people compare, and its description in words."""

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from approvals.models.rules import EFFECTS, MODES, PolicyVersion
from approvals.policies.fact_schema import FACTS
from approvals.policies.sandbox.process import check_expression
from approvals.verdict import check_required_approvals, describe_required_approvals
from audit.changes.masking import find_secrets
from audit.errors import Invalid
from audit.log.canonical_json import digest_of

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
UNDECLARED = re.compile(r"undeclared reference to '([\w.]+)'")
NO_OVERLOAD = re.compile(r"found no matching overload for '(.+)' applied to '\((.*)\)'")
MAX_MESSAGE, MAX_SLUG, MAX_REQUIRED_APPROVALS = 500, 64, 20


@dataclass(frozen=True)
class PolicyText:
    """`required_approvals` are {"role", "count"}, for `require` only. `message` is what people read when it applies."""

    expression: str
    effect: str
    message: str
    required_approvals: list[dict[str, Any]] = field(default_factory=list)
    overridable: bool = False
    mode: str = "enforce"


def policy_text_of(version: PolicyVersion) -> PolicyText:
    return PolicyText(
        version.expression,
        version.effect,
        version.message,
        version.required_approvals,
        version.overridable,
        version.mode,
    )


def fingerprint(policy_text: PolicyText) -> str:
    """The digest that an editor sends back to say which text it started from."""
    return digest_of(asdict(policy_text))


def as_yaml(version: PolicyVersion) -> str:
    """A version as the text that reviewers compare. Needs `policy` and its tenant joined."""
    policy = version.policy
    scope = policy.tenant.slug if policy.tenant else "every tenant"
    return to_yaml(
        {"policy": policy.slug, "guards": scope, "version": version.version, **asdict(policy_text_of(version))}
    )


def text_digest(version: PolicyVersion) -> str:
    """SHA-256 of `as_yaml`: a plan names it, so that nothing else is published."""
    return hashlib.sha256(as_yaml(version).encode()).hexdigest()


def to_yaml(value: Mapping[str, Any]) -> str:
    """YAML in the order given, with texts of several lines written as blocks."""
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000)


def require_valid_text(policy_text: PolicyText, roles: set[str] | None) -> None:
    """Raise Invalid with every fault, the expression's with `line` and `column`. `roles`: None knows no roles."""
    issues = [*faults_of_expression(policy_text.expression), *_faults(policy_text, roles)]
    if issues:
        raise Invalid(issues[0]["message"], issues=issues)


def faults_of_expression(expression: str) -> list[dict[str, Any]]:
    """Every fault of an expression: {"severity", "message", "field": "expression", "line", "column"}."""
    return [
        {**issue(describe_fault(fault.message), "expression"), "line": fault.line, "column": fault.column}
        for fault in check_expression(expression)
    ]


def describe_fault(message: str) -> str:
    """A fault as the library reports it, with a suggestion, without its list of everything it expected."""
    if found := UNDECLARED.fullmatch(message):
        near = difflib.get_close_matches(found[1], FACTS, 1, 0.6)
        meant = f" Did you mean {near[0]}?" if near else ""
        return f"undeclared reference to '{found[1]}': no such fact.{meant}"
    if found := NO_OVERLOAD.fullmatch(message):
        return f"{found[1].strip('_').replace('_', ' ')} does not work on ({found[2]}): the types do not fit."
    return message.split(" expecting {")[0].replace("'<EOF>'", "the end of the expression")


def require_valid_slug(slug: str) -> None:
    if len(slug) > MAX_SLUG or not SLUG.fullmatch(slug):
        message = f"Use lower-case letters, digits and single hyphens, at most {MAX_SLUG}, such as no-deletes-in-prod."
        raise Invalid(message, issues=[issue(message, "slug")])


def issue(message: str, where: str) -> dict[str, Any]:
    return {"severity": "error", "message": message, "field": where}


def _faults(policy_text: PolicyText, roles: set[str] | None) -> Iterator[dict[str, Any]]:
    if policy_text.effect not in EFFECTS:
        yield issue(f"Use one of {', '.join(EFFECTS)}.", "effect")
    if policy_text.mode not in MODES:
        yield issue(f"Use one of {', '.join(MODES)}.", "mode")
    if not policy_text.message.strip():
        yield issue("State the problem and what to do.", "message")
    if len(policy_text.message) > MAX_MESSAGE:
        yield issue(f"At most {MAX_MESSAGE} characters; this has {len(policy_text.message):,}.", "message")
    for name in ("expression", "message"):
        if any(ord(c) < 32 and c not in "\n\t\r" or 0xD800 <= ord(c) <= 0xDFFF for c in getattr(policy_text, name)):
            yield issue("Control characters are not accepted here.", name)
        for found in find_secrets(getattr(policy_text, name)):
            message = f"This looks like a secret: {found.kind}. Secrets must not enter policies."
            yield {**issue(message, name), "line": found.line, "column": found.column}
    yield from _required_approval_faults(policy_text, roles)


def _required_approval_faults(policy_text: PolicyText, roles: set[str] | None) -> Iterator[dict[str, Any]]:
    if policy_text.effect != "require":
        if policy_text.required_approvals:
            yield issue("Only `require` names required approvals.", "required_approvals")
        return
    try:
        required_approvals = check_required_approvals(policy_text.required_approvals)
    except ValueError as error:
        yield issue(str(error), "required_approvals")
        return
    if not required_approvals:
        yield issue("Name at least one required approval: a role and how many people.", "required_approvals")
    if len(required_approvals) > MAX_REQUIRED_APPROVALS or any(
        required["count"] > MAX_REQUIRED_APPROVALS for required in required_approvals
    ):
        yield issue(
            f"At most {MAX_REQUIRED_APPROVALS} rows, of at most {MAX_REQUIRED_APPROVALS} people each.",
            "required_approvals",
        )
    if any(len(required["role"]) > 63 or not required["role"].isprintable() for required in required_approvals):
        yield issue("A role's name is at most 63 characters, all of them printable.", "required_approvals")
    for role in sorted({required["role"] for required in required_approvals} - roles) if roles is not None else ():
        yield issue(
            f"{role} is not a role that may approve here, so nobody could fill it.",
            "required_approvals",
        )


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


# A policy in words: the same on every page, in the API and in a backtest. Pure.


EFFECT_TITLES = {
    "deny": "Deny",
    "require": "Require approvals",
    "warn": "Warn",
    "allow_autonomous": "Allow without approval",
}
EFFECT_MEANINGS = {
    "deny": "The action is denied; no approval can change that.",
    "require": "Adds required approvals to those of the matrix.",
    "warn": "Shows the message to approvers. Blocks nothing.",
    "allow_autonomous": "A safe, confident proposal runs without approval, if the environment allows agents to act.",
}
MODE_MEANINGS = {
    "enforce": "Enforced.",
    "shadow": "Evaluated and recorded on every action; changes no outcome.",
}


def describe_effect(effect: str, required_approvals: Sequence[Mapping[str, Any]]) -> str:
    """`denies the action`: what it does where it is true."""
    requires = (
        f"requires {describe_required_approvals(required_approvals)} in addition"
        if required_approvals
        else "requires approvals in addition"
    )
    return {
        "deny": "denies the action",
        "require": requires,
        "warn": "warns and blocks nothing",
        "allow_autonomous": "allows a safe, confident proposal without approval",
    }.get(effect, effect)


def describe_shadow_effect(effect: str, required_approvals: Sequence[Mapping[str, Any]]) -> str:
    """`would have denied the action`: what a shadow one would have done."""
    required = (
        f"required {describe_required_approvals(required_approvals)} in addition"
        if required_approvals
        else "required approvals in addition"
    )
    done = {
        "deny": "denied the action",
        "require": required,
        "warn": "warned",
        "allow_autonomous": "allowed it without approval",
    }.get(effect, effect)
    return f"would have {done}"


def describe_policy(policy_text: PolicyText) -> str:
    """The policy except its expression: its effect if true, whether it is enforced, whether it can be overridden."""
    if policy_text.mode == "shadow":
        effect = describe_shadow_effect(policy_text.effect, policy_text.required_approvals)
        text = f"Shadow: if true, it records that it {effect}."
    else:
        text = f"If true, it {describe_effect(policy_text.effect, policy_text.required_approvals)}."
    return f"{text} {describe_overridable(policy_text.effect, policy_text.overridable)[1]}".strip()


def describe_overridable(effect: str, overridable: bool) -> tuple[str, str]:
    """A word and a sentence on whether it can be overridden."""
    if effect not in ("deny", "require"):
        return "", ""
    if overridable:
        return "Overridable", "Break-glass can override it."
    return "Hard", "Break-glass cannot override it."

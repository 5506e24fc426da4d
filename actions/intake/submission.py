"""A submission: its fields, the checks they must pass, the scan for secrets, and the fallback it may declare."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jsonschema_rs

from actions.types.protocol import Executor, Issue, Target, error
from actions.types.registry import get_executor, permission_for
from actions.types.shared.checks import check_schema, validate_checks
from actions.types.shared.recovery_policy import ROLLBACK_MODES, ROLLBACK_ORDERS, recovery_issues, recovery_schema
from audit.changes.masking import find_secrets
from audit.errors import Problem
from audit.log.canonical_json import canonical, digest_of
from tenants.access import Access
from tenants.models import Environment

LEVELS = ("low", "medium", "high", "critical")
MODES = ("apply", "simulate")
MAX_BYTES = 6 * 1024 * 1024
MAX_RECOVERY_BYTES = 256 * 1024
MAX_DEPTH = 40


@dataclass
class Submission:
    """A proposed action, as the API and the form read it. Intake checks the environment and the type."""

    type: str
    environment: str
    parameters: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    title: str = ""
    target: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    ticket: str = ""
    external_url: str = ""
    security_level: str = ""
    confidence: float | None = None
    priority: int = 0
    timeout_s: int = 600
    not_before: datetime | None = None
    accept: bool = False
    rollback: dict[str, Any] = field(default_factory=dict)
    """Options of the rollback: `order` and `mode`, where they differ from its type's."""
    watch: dict[str, Any] = field(default_factory=dict)
    """The watchdog: `every_s` the checks run, the `error_rate`, and what happens `then`."""
    recovery: dict[str, Any] = field(default_factory=dict)
    """
    The recovery policy for failing steps, where it differs from its type's: `actions.types.shared.recovery_policy`.
    """
    mode: str = "apply"
    """With `simulate` the steps only log what they would do."""

    def body_digest(self) -> str:
        """SHA-256 of the canonical form: what an Idempotency-Key stands for."""
        not_before = self.not_before.isoformat() if self.not_before else None
        return digest_of({**vars(self), "not_before": not_before})


_validators: dict[int, tuple[dict[str, Any], Any]] = {}


def _validator(schema: dict[str, Any]) -> Any:
    """One compiled validator per schema object; types keep theirs for the life of the process."""
    known = _validators.get(id(schema))
    if known is None or known[0] is not schema:
        made = jsonschema_rs.Draft202012Validator(json.loads(canonical(schema)), validate_formats=True)
        known = _validators[id(schema)] = (schema, made)
    return known[1]


def schema_issues(schema: dict[str, Any], value: Any, prefix: str) -> Iterator[Issue]:
    """All violations of a JSON Schema (2020-12), each with a dotted field path."""
    for found in _validator(schema).iter_errors(value):
        path = ".".join(str(p) for p in (prefix, *found.instance_path) if p != "")
        yield Issue("error", found.message[:300], path)


def field_issues(s: Submission) -> Iterator[Issue]:
    """The checks that hold for every type."""
    if not s.reason.strip():
        yield Issue("error", "Give a reason for approvers and auditors.", "reason")
    for name, most in (("reason", 4_000), ("title", 200), ("ticket", 120), ("external_url", 500)):
        text = getattr(s, name)
        if len(text) > most:
            yield Issue("error", f"At most {most:,} characters; this has {len(text):,}.", name)
        if any(ord(c) < 32 and c not in "\n\t\r" for c in text):
            yield Issue("error", "Control characters are not accepted here.", name)
    if s.external_url and not s.external_url.startswith(("https://", "http://")):
        yield Issue("error", "Use an http or https address.", "external_url")
    if s.confidence is not None and not 0 <= s.confidence <= 1:
        yield Issue("error", "Confidence is a number between 0 and 1.", "confidence")
    if type(s.timeout_s) is not int or not 1 <= s.timeout_s <= 86_400:  # a form sends what was typed
        yield Issue("error", "Between 1 and 86,400 seconds.", "timeout_s")
    if type(s.priority) is not int or not -100 <= s.priority <= 100:
        yield Issue("error", "Between -100 and 100.", "priority")
    if s.security_level and s.security_level not in LEVELS:
        yield Issue("error", f"One of {', '.join(LEVELS)}.", "security_level")
    if s.mode not in MODES:
        yield Issue("error", "Either apply or simulate.", "mode")
    if unknown := sorted(set(s.target) - {"node", "service"}):
        yield Issue("error", f"A target has `node` and `service`; {', '.join(unknown)} is not known.", "target")
    if any(not isinstance(v, str) or len(v) > 200 for v in s.target.values()):
        yield Issue("error", "A target's node and service are texts of at most 200 characters.", "target")
    yield from rollback_option_issues(s.rollback, s.watch)
    yield from schema_issues(check_schema, s.checks, "checks")
    yield from recovery_shape_issues(s.recovery)


def recovery_shape_issues(recovery: Any) -> Iterator[Issue]:
    if recovery and len(canonical(recovery)) > MAX_RECOVERY_BYTES:
        yield Issue("error", f"At most {MAX_RECOVERY_BYTES // 2**10} KiB.", "recovery")
    else:
        yield from schema_issues(recovery_schema, recovery, "recovery")


def level_issues(s: Submission, executor: Executor, level: str) -> Iterator[Issue]:
    if s.security_level in LEVELS and LEVELS.index(s.security_level) < LEVELS.index(level):
        words = f"{executor.title} with these parameters is {level}; it can be raised, never lowered."
        yield Issue("error", words, "security_level")


# Options for the rollback and the watchdog.


ROLLBACK_OPTIONS = {"order": ROLLBACK_ORDERS, "mode": ROLLBACK_MODES}
WATCH_OUTCOMES = ("hold", "rollback")
WATCH_INTERVAL_S = (1, 3_600)


def rollback_option_issues(rollback: Any, watch: Any) -> Iterator[Issue]:
    """All errors in `rollback` {"order", "mode"} and `watch` {"every_s", "error_rate", "then"}."""
    yield from _rollback_issues(rollback)
    yield from _watch_issues(watch)


def _rollback_issues(rollback: Any) -> Iterator[Issue]:
    if not isinstance(rollback, dict):
        yield Issue("error", "An object with `order` and `mode`.", "rollback")
        return
    for name in sorted(rollback.keys() - ROLLBACK_OPTIONS.keys(), key=str):
        yield Issue("error", "A rollback has `order` and `mode`.", f"rollback.{name}")
    for name, known in ROLLBACK_OPTIONS.items():
        if name in rollback and rollback[name] not in known:
            yield Issue("error", f"One of {', '.join(known)}.", f"rollback.{name}")


def _watch_issues(watch: Any) -> Iterator[Issue]:
    if not isinstance(watch, dict):
        yield Issue("error", "An object with `every_s`, `error_rate` and `then`.", "watch")
        return
    for name in sorted(watch.keys() - {"every_s", "error_rate", "then"}, key=str):
        yield Issue("error", "A watch has `every_s`, `error_rate` and `then`.", f"watch.{name}")
    every_s = watch.get("every_s", WATCH_INTERVAL_S[0])
    if type(every_s) is not int or not WATCH_INTERVAL_S[0] <= every_s <= WATCH_INTERVAL_S[1]:
        yield Issue("error", f"Between {WATCH_INTERVAL_S[0]} and {WATCH_INTERVAL_S[1]:,} seconds.", "watch.every_s")
    rate = watch.get("error_rate", 1)
    if type(rate) not in (int, float) or not 0 < rate <= 1:
        yield Issue("error", "A share of the attempts, above 0 and at most 1.", "watch.error_rate")
    if "then" in watch and watch["then"] not in WATCH_OUTCOMES:
        yield Issue("error", f"One of {', '.join(WATCH_OUTCOMES)}.", "watch.then")


# The recovery policy, and the fallback action.


@dataclass(frozen=True)
class FallbackAction:
    """The fields of the fallback action's submission."""

    type: str
    parameters: dict[str, Any]
    checks: list[dict[str, Any]]

    @classmethod
    def of(cls, said: dict[str, Any]) -> "FallbackAction":
        return cls(said["type"], said.get("parameters", {}), said.get("checks", []))


def fallback_issues(s: Submission, executor: Executor, target: Target, access: Access) -> Iterator[Issue]:
    """The errors of a (schema-valid) `recovery` for the proposed type. No query."""
    if not s.recovery:
        return
    yield from recovery_issues(executor, s.recovery)
    if s.recovery.get("fallback"):
        yield from _fallback_issues(FallbackAction.of(s.recovery["fallback"]), target, access)


def _fallback_issues(fallback: FallbackAction, target: Target, access: Access) -> Iterator[Issue]:
    """The errors that the intake of the fallback action would find."""
    try:
        executor = get_executor(fallback.type)
    except Problem as problem:
        yield error(" ".join([problem.detail, *problem.remedies]), "recovery.fallback.type")
        return
    if not access.can(permission_for(fallback.type), target.environment_id):
        yield error(f"You may not propose {executor.title.lower()} here.", "recovery.fallback.type")
    at = "recovery.fallback.parameters"
    wrong = list(schema_issues(executor.schema, fallback.parameters, at))
    yield from wrong
    if not wrong:
        for issue in executor.validate(fallback.parameters, target):
            yield Issue(issue.severity, issue.message, f"{at}.{issue.field}" if issue.field else at)
    wrong = list(schema_issues(check_schema, fallback.checks, "recovery.fallback.checks"))
    yield from wrong
    for issue in [] if wrong else validate_checks(fallback.checks, target):
        yield Issue(issue.severity, issue.message, f"recovery.fallback.{issue.field}")


def fallback_submission(environment: Environment, said: dict[str, Any], of: Any) -> Submission:
    """The submission of an action's declared fallback: its own fields, else that action's."""
    return Submission(
        type=said["type"],
        environment=environment.slug,
        parameters=said.get("parameters", {}),
        reason=said.get("reason") or f"Fallback of {of.title}: {of.reason}"[:4_000],
        title=said.get("title") or f"Fallback: {of.title}"[:200],
        target=said.get("target", of.target),
        checks=said.get("checks", []),
        ticket=of.ticket,
        external_url=of.external_url,
        confidence=of.confidence,
        priority=of.priority,
        timeout_s=said.get("timeout_s", of.timeout_s),
        accept=said.get("accept", False),
    )


# Screening: what no submission of any type may carry. Every screener sees every submission before anything is stored.


Screener = Callable[[Submission], Iterable[Issue]]
_screeners: list[Screener] = []
MAX_FINDINGS = 20


def register_screener(function: Screener) -> Screener:
    """Register a screener: it sees every submission."""
    _screeners.append(function)
    return function


def screen(submission: Submission) -> Iterator[Issue]:
    for look in _screeners:
        yield from look(submission)


@register_screener
def find_secret_issues(submission: Submission) -> Iterator[Issue]:
    """Refuse probable secrets anywhere in a submission; name the place, never the value."""
    found = 0
    for path, text in _texts(submission):
        for finding in find_secrets(text):
            found += 1
            if found > MAX_FINDINGS:
                return
            where = f" (line {finding.line}, column {finding.column})"
            yield Issue(
                "error",
                f"This looks like a secret: {finding.kind}{where}. Secrets must not enter actions; put the value into "
                "the target's own secret store and refer to it.",
                path,
            )


def _texts(s: Submission) -> Iterator[tuple[str, str]]:
    for name in ("title", "reason", "ticket", "external_url"):
        yield name, getattr(s, name)
    yield from _strings(s.parameters, "parameters")
    yield from _strings(s.checks, "checks")
    yield from _strings(s.target, "target")
    yield from _strings(s.recovery, "recovery")


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _strings(inner, f"{path}.{n}")

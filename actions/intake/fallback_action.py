"""What a submission says about recovery: its policy, and the action that it may fall back to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from actions.intake.submission import Submission, schema_issues
from actions.types.protocol import Executor, Issue, Target, error
from actions.types.registry import get_executor, permission_for
from actions.types.shared.checks import check_schema, validate_checks
from actions.types.shared.recovery_policy import recovery_issues
from audit.errors import Problem
from tenants.access import Access
from tenants.models import Environment


@dataclass(frozen=True)
class FallbackAction:
    """The action to fall back to, as its own submission will have it."""

    type: str
    parameters: dict[str, Any]
    checks: list[dict[str, Any]]

    @classmethod
    def of(cls, said: dict[str, Any]) -> "FallbackAction":
        return cls(said["type"], said.get("parameters", {}), said.get("checks", []))


def fallback_issues(s: Submission, executor: Executor, target: Target, access: Access) -> Iterator[Issue]:
    """What is wrong with a (schema-valid) `recovery` by the type that is proposed. No query."""
    if not s.recovery:
        return
    yield from recovery_issues(executor, s.recovery)
    if s.recovery.get("fallback"):
        yield from _fallback_issues(FallbackAction.of(s.recovery["fallback"]), target, access)


def _fallback_issues(fallback: FallbackAction, target: Target, access: Access) -> Iterator[Issue]:
    """What its own intake would refuse, as far as it can be known before it is needed."""
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
    """The submission of a declared fallback of an action: its own words where it has some, else that action's."""
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

"""Submit: from a submission to a queued action with its first event, or to a list of every issue."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from actions.controls.circuit_breaker import breaker_key
from actions.controls.nodes import known_node, queue_time
from actions.errors import BadSubmission, KeyReused, NotAllowed
from actions.intake.submission import (
    MAX_BYTES,
    Submission,
    fallback_issues,
    field_issues,
    level_issues,
    schema_issues,
    screen,
)
from actions.lifecycle.commit import Changed, action_subject, committed
from actions.lifecycle.context import target_in
from actions.models import Action, IdempotencyKey
from actions.types.protocol import Executor, Issue
from actions.types.registry import get_executor, permission_for
from actions.types.shared.checks import validate_checks
from approvals.models import PolicyVersion
from approvals.policies.permissions import administers_every_tenant
from approvals.verdict import CONFIG_CHANGE
from audit.database.statements import Rows, insert_together, prepared_reads
from audit.errors import Problem, TooLarge
from audit.log.canonical_json import canonical, digest_of
from audit.log.events import NewEvent, build_rows
from tenants.access import Access
from tenants.models import Environment

MAX_ISSUES = 1_000
ACTION_COLUMNS = tuple(str(f.column) for f in Action._meta.concrete_fields)
ACTION_FIELDS = tuple(f.attname for f in Action._meta.concrete_fields)
KEY_COLUMNS = ("tenant_id", "principal_id", "key", "body_sha256", "action_id", "created_at")


def submit(
    access: Access,
    submission: Submission,
    *,
    idempotency_key: str = "",
    correlation_id: str = "",
    retry_of: Action | None = None,
    undo_of: Action | None = None,
    fallback_of: Action | None = None,
) -> tuple[Action, bool]:
    """
    Store a submission as a queued action; return it and whether it is new.

    The same key and body by the same principal in the same tenant return the first action. Writes the action, its key
    and its `action.submitted` event in one transaction. Raises BadSubmission with every issue, NotAllowed, KeyReused,
    TooLarge.
    """
    known = _known(access, submission, idempotency_key)
    if known is not None:
        return known, False
    environment, executor, warnings = check_submission(access, submission, planned=undo_of is None)
    action = build_action(access, submission, environment, executor, correlation_id)
    action.retry_of, action.undo_of, action.fallback_of = retry_of, undo_of, fallback_of
    try:
        with _all_or_nothing():
            _store(action, submission, idempotency_key, warnings)
    except IntegrityError:
        known = _known(access, submission, idempotency_key)
        if known is None:
            raise
        return known, False
    return action, True


def check_submission(
    access: Access, s: Submission, *, planned: bool = True
) -> tuple[Environment, Executor, list[Issue]]:
    """Check a submission without planning it; return its environment, its executor and warnings."""
    if len(canonical(s.parameters)) > MAX_BYTES:
        raise TooLarge(f"Parameters of at most {MAX_BYTES // 2**20} MiB are accepted.")
    issues = list(field_issues(s))
    named = Environment.objects.annotate(requested_at=Now()).filter(tenant=access.tenant, slug=s.environment)[:1]
    with prepared_reads():
        environment = next(iter(named), None)
    if environment is not None:
        environment.tenant = access.tenant
    if environment is None or not access.can("view", environment.pk):
        issues.append(Issue("error", f"You have no environment {s.environment!r}.", "environment"))
    executor = _executor(s.type, issues)
    if executor is not None and planned:
        issues += schema_issues(executor.schema, s.parameters, "parameters")
    issues += screen(s)
    fits = executor is not None and planned and not any(i.severity == "error" for i in issues)
    if executor is not None and environment is not None and fits:
        target = target_in(environment, s.target)
        issues += _prefixed(executor.validate(s.parameters, target))
        issues += validate_checks(s.checks, target)
        issues += level_issues(s, executor, executor.level_of(s.parameters))
        issues += fallback_issues(s, executor, target, access)
    if any(i.severity == "error" for i in issues) or environment is None or executor is None:
        raise BadSubmission(issues=[asdict(i) for i in limit_issues(issues)])
    asked = permission_for(s.type)
    if not access.can(asked, environment.pk):
        what = "propose actions" if asked == "propose" else f"propose to {executor.title.lower()}"
        raise NotAllowed(
            f"You may look at {environment.slug}, but not {what} there.",
            remedies=[f"Ask a tenant admin for a role that may {asked} in {environment.slug}."],
        )
    require_policy_scope(access, s)
    return environment, executor, issues


def limit_issues(issues: list[Issue]) -> list[Issue]:
    """All issues, or the first ones, errors first, and how many more there are."""
    if len(issues) <= MAX_ISSUES:
        return issues
    first = sorted(issues, key=lambda i: i.severity != "error")[:MAX_ISSUES]
    return [*first, Issue("error", f"There are {len(issues) - MAX_ISSUES:,} more issues like these.", "")]


def _executor(name: str, issues: list[Issue]) -> Executor | None:
    try:
        return get_executor(name)
    except Problem as problem:
        issues.append(Issue("error", " ".join([problem.detail, *problem.remedies]), "type"))
        return None


def _prefixed(issues: list[Issue]) -> list[Issue]:
    return [Issue(i.severity, i.message, f"parameters.{i.field}" if i.field else "parameters") for i in issues]


def _known(access: Access, submission: Submission, key: str) -> Action | None:
    if not key:
        return None
    if len(key) > 255:
        raise BadSubmission(issues=[asdict(Issue("error", "At most 255 characters.", "Idempotency-Key"))])
    joined = IdempotencyKey.objects.select_related("action__environment__tenant", "action__requester")
    found = joined.filter(tenant=access.tenant, principal=access.principal, key=key).first()
    if found is None:
        return None
    if found.body_sha256 != submission.body_digest():
        raise KeyReused
    return found.action


def build_action(
    access: Access, s: Submission, environment: Environment, executor: Executor, correlation_id: str
) -> Action:
    level = s.security_level or executor.level_of(s.parameters)
    return Action(
        tenant=access.tenant,
        environment=environment,
        type=s.type,
        title=" ".join(s.title.split()) or title_for(executor, s),
        reason=s.reason.strip(),
        parameters=s.parameters,
        target=s.target,
        checks=s.checks,
        rollback=s.rollback,
        watch=s.watch,
        requester=access.principal,
        ticket=s.ticket,
        external_url=s.external_url,
        security_level=level,
        risk_class=executor.risk_class,
        confidence=s.confidence,
        priority=s.priority,
        timeout_s=s.timeout_s,
        not_before=s.not_before,
        accepted_in_advance=s.accept,
        recovery=s.recovery,
        breaker_key="" if s.mode == "simulate" else breaker_key(executor, environment.pk, s.parameters, s.target),
        simulated=s.mode == "simulate",
        correlation_id=correlation_id,
        created_at=environment.requested_at,  # type: ignore[attr-defined]  # annotated by `check_submission`
        turn_at=queue_time(s.priority, environment.requested_at),  # type: ignore[attr-defined]
        node=known_node(s.target),
    )


def title_for(executor: Executor, s: Submission) -> str:
    """A title for a submission without one: the type and its first target."""
    changes = s.parameters.get("changes")
    if isinstance(changes, list) and changes and isinstance(changes[0], dict):
        rest = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        return f"{executor.title}: {changes[0].get('path', '')}{rest}"[:200]
    return f"{executor.title} in {s.environment}"[:200]


def _all_or_nothing() -> AbstractContextManager[Any]:
    """A transaction; on PostgreSQL one statement stores everything and needs none."""
    alone = connection.vendor == "postgresql" and not connection.in_atomic_block
    return nullcontext() if alone else transaction.atomic()


def _store(action: Action, submission: Submission, key: str, warnings: list[Issue]) -> None:
    """Insert the action, its key and its event; on PostgreSQL in one statement."""
    keys = [(action.tenant_id, action.requester_id, key, submission.body_digest(), action.pk, action.created_at)]
    events, _ = build_rows([_submitted(action, warnings)], {}, action.created_at)
    insert_together(
        [
            Rows(Action, ACTION_COLUMNS, [tuple(getattr(action, name) for name in ACTION_FIELDS)]),
            Rows(IdempotencyKey, KEY_COLUMNS, keys if key else []),
            *events,
        ]
    )
    action._state.adding, action._state.db = False, connection.alias
    change = Changed(action.pk, action.tenant_id, action.environment_id, "queued", action.seq, False, action.node)
    transaction.on_commit(lambda: committed.send(None, changes=[change]))


def _submitted(action: Action, warnings: list[Issue]) -> NewEvent:
    facts: dict[str, Any] = {
        "type": action.type,
        "environment": str(action.environment_id),
        "parameters_sha256": digest_of(action.parameters),
        "security_level": action.security_level,
        "risk_class": action.risk_class,
        "accepted_in_advance": action.accepted_in_advance,
        "warnings": len(warnings),
    }
    if action.simulated:
        facts["simulated"] = True
    if action.retry_of_id:
        facts["retry_of"] = str(action.retry_of_id)
    if action.undo_of_id:
        facts["undo_of"] = str(action.undo_of_id)
    if action.fallback_of_id:
        facts["fallback_of"] = str(action.fallback_of_id)
    private = {"title": action.title, "reason": action.reason}
    if action.ticket:
        private["ticket"] = action.ticket
    return NewEvent(
        tenant=action.tenant_id,
        subject=action_subject(action),
        verb="action.submitted",
        actor=str(action.requester_id),
        correlation_id=action.correlation_id,
        facts=facts,
        private=private,
    )


# The scope of a policy change, and who may propose it.


def require_policy_scope(access: Access, s: Submission) -> None:
    """
    Raise NotAllowed unless the caller administers everything that a policy change affects. One query, for policy
    changes only.

    A matrix belongs to its environment; a policy applies to the whole tenant, wherever the action lands; a global one
    to every tenant. So whoever may draft a policy may also publish or retire it.
    """
    if s.type != CONFIG_CHANGE or s.parameters.get("kind") == "matrix":
        return
    if not access.can("administer"):
        raise NotAllowed(
            "A policy applies to the whole tenant; only an admin of the whole tenant may propose to change it.",
            remedies=["Ask an admin of the whole tenant to propose it."],
        )
    found = PolicyVersion.objects.select_related("policy").filter(pk=UUID(str(s.parameters["draft"]))).first()
    if found is not None and found.policy.is_global and not administers_every_tenant(access):
        raise NotAllowed(
            "A global policy applies to every tenant; only a signed-in admin of all tenants may propose to change it.",
            remedies=["Ask an admin of all tenants, or draft a policy in your own tenant."],
        )

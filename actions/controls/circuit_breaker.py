"""
Circuit breakers: when one executor keeps failing at one target, nothing new starts there for a while.

The row in the database holds the state for all workers; pybreaker has the rules of its moves. The first failure creates
the row, so that targets without failures cost nothing: the dequeue reads the table in its own statement, and a run
writes only after failures. Nothing here raises into a run: a failed write is logged.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pybreaker
import structlog
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Q, QuerySet

from actions.controls.worker_queues import wake_up
from actions.errors import NotAllowed, WrongState
from actions.models import Action, CircuitBreaker
from actions.models.states import ENDED, State
from actions.types.protocol import Executor, Outcome
from actions.types.shared.recovery_policy import INTERLOCK_CODES, strategies_of
from audit.database.clock import database_time
from audit.errors import NotFound
from audit.log.events import NewEvent, Subject, record
from tenants.access import Access, visible_to

log = structlog.get_logger(__name__)
ACTOR = "system:execute"
FAILURES_TO_OPEN = 5
"""Consecutive failures, of any actions, until it opens."""
REST_S, MAX_REST_S = 30.0, 900.0
"""How long it stays open; twice as long each time the probe fails."""
MAX_SWEPT = 200
S = CircuitBreaker.State


class AttemptFailed(Exception):
    """The result of an attempt, for its breaker."""


class RowStorage(pybreaker.CircuitBreakerStorage):
    """A breaker's state in its row, which the caller has locked and saves. `now` is the database's time."""

    def __init__(self, row: CircuitBreaker, now: datetime) -> None:
        super().__init__("row")
        self.row, self.now, self.successes = row, now, 0

    @property
    def state(self) -> str:
        return str(self.row.state)

    @state.setter
    def state(self, state: str) -> None:
        self.row.state = state

    def increment_counter(self) -> None:
        self.row.failures += 1

    def reset_counter(self) -> None:
        self.row.failures = 0

    @property
    def counter(self) -> int:
        return self.row.failures

    def increment_success_counter(self) -> None:
        self.successes += 1

    def reset_success_counter(self) -> None:
        self.successes = 0

    @property
    def success_counter(self) -> int:
        return self.successes

    @property
    def opened_at(self) -> datetime | None:
        return self.row.opened_at

    @opened_at.setter
    def opened_at(self, when: datetime) -> None:
        self.row.opened_at = self.now


def hash_breaker_key(environment_id: UUID, type_name: str, target: str) -> str:
    return hashlib.sha256(f"{environment_id}\x00{type_name}\x00{target}".encode()).hexdigest()


def breaker_key(executor: Executor, environment_id: UUID, parameters: Mapping[str, Any], target: Any) -> str:
    """The key of an action's breaker; "" for a type that changes nothing: reading a failing target stays possible."""
    if not executor.changes_something:
        return ""
    return hash_breaker_key(environment_id, executor.name, breaker_target(executor, parameters, target))


def breaker_target(executor: Executor, parameters: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    """The target that a breaker guards: node and service, and the parameters in the type's `breaks_by`."""
    told = [str(parameters[name]) for name in getattr(executor, "breaks_by", ()) if name in parameters]
    parts = dict.fromkeys([target.get("node", ""), target.get("service", ""), *told])
    return " ".join(part for part in parts if part)[:200]


def counts_as_failure(executor: Executor, outcome: Outcome) -> bool:
    """
    Whether a failure counts against the target: the executor crashed, or its type recommends something other than
    `abort`.

    Refusals after a comparison, and stops by a policy or a person, do not count.
    """
    if outcome.ok or outcome.code in INTERLOCK_CODES:
        return outcome.code == "overran"
    said = strategies_of(executor).get(outcome.code)
    return said != "abort" if said else outcome.retryable or outcome.code == "executor_error"


def record_outcomes(action: Action, executor: Executor, outcomes: Iterable[Outcome]) -> CircuitBreaker | None:
    """
    Report results of attempts to an action's breaker; return it, or None if there is none. Raises nothing.

    One short transaction, with the breaker's row locked; call it only after failures, now or before.
    """
    results = [outcome.ok for outcome in outcomes if outcome.ok or counts_as_failure(executor, outcome)]
    codes = [outcome.code for outcome in outcomes if not outcome.ok]
    if not action.breaker_key or not results:
        return None
    try:
        with transaction.atomic():
            return _record(action, executor, results, codes[-1] if codes else "")
    except (DatabaseError, InterfaceError) as error:
        log.warning("breaker_not_recorded", action=str(action.pk), error=str(error))
        return None


def _record(action: Action, executor: Executor, results: list[bool], code: str) -> CircuitBreaker | None:
    row = _locked(action.breaker_key)
    if row is None:
        if all(results):
            return None
        made = CircuitBreaker(
            key=action.breaker_key,
            tenant_id=action.tenant_id,
            environment_id=action.environment_id,
            type=action.type,
            target=breaker_target(executor, action.parameters, action.target),
        )
        CircuitBreaker.objects.bulk_create([made], ignore_conflicts=True)
        row = _locked(action.breaker_key)
        assert row is not None
    now, before = database_time(), row.state
    circuit = pybreaker.CircuitBreaker(
        FAILURES_TO_OPEN,
        reset_timeout=open_seconds(row),
        state_storage=RowStorage(row, now),
        throw_new_error_on_trip=False,
    )
    for ok in results:
        if is_open(row, now) or (row.state == S.HALF_OPEN and row.probe_id not in (None, action.pk)):
            break  # it started before the breaker opened, so it says nothing about the target now
        if row.state == S.OPEN:
            circuit.half_open()
            before = S.HALF_OPEN
        _call_breaker(circuit, ok)
    _save_state(row, before, now, code)
    return row


def _call_breaker(circuit: pybreaker.CircuitBreaker, ok: bool) -> None:
    def attempt() -> None:
        if not ok:
            raise AttemptFailed

    try:
        circuit.call(attempt)
    except (AttemptFailed, pybreaker.CircuitBreakerError):
        return


def _save_state(row: CircuitBreaker, before: str, now: datetime, code: str) -> None:
    """Save the new state, with an event if it opened or closed."""
    if code:
        row.code, row.failed_at = code[:120], now
    if row.state == S.OPEN and before != S.OPEN:
        row.open_until = now + timedelta(seconds=open_seconds(row))
        row.openings, row.probe_id = row.openings + 1, None
        facts = {"failures": row.failures, "code": row.code, "open_s": int((row.open_until - now).total_seconds())}
        _record_event(row, "breaker.opened", ACTOR, facts, outcome="failed")
    elif row.state == S.CLOSED and before != S.CLOSED:
        close(row)
        _record_event(row, "breaker.closed", ACTOR, {})
    row.save()


def is_open(row: CircuitBreaker, now: datetime) -> bool:
    """Whether the breaker is open and its time is not over."""
    return row.state == S.OPEN and (row.open_until is None or row.open_until > now)


def close(row: CircuitBreaker) -> None:
    row.state, row.failures, row.openings = S.CLOSED, 0, 0
    row.open_until, row.probe_id = None, None


def open_seconds(row: CircuitBreaker) -> float:
    return float(min(MAX_REST_S, REST_S * 2.0 ** min(row.openings, 16)))


def _locked(key: str) -> CircuitBreaker | None:
    return CircuitBreaker.objects.select_for_update().filter(key=key).first()


def half_open_due(wake_up: Callable[..., None]) -> int:
    """
    For the sweep: choose the first action that waits for each breaker whose time is over as its probe; return how many.

    A probe that ended or was held without a result is replaced. One query while all breakers are closed.
    """
    found = 0
    for pk in list(
        CircuitBreaker.objects.exclude(state=S.CLOSED).order_by("pk").values_list("pk", flat=True)[:MAX_SWEPT]
    ):
        with transaction.atomic():
            row = CircuitBreaker.objects.select_for_update(skip_locked=True, of=("self",)).select_related("probe")
            breaker = row.filter(pk=pk).exclude(state=S.CLOSED).first()
            found += breaker is not None and _choose_probe(breaker, database_time())
    if found:
        transaction.on_commit(lambda: wake_up("execute"))
    return found


def _choose_probe(row: CircuitBreaker, now: datetime) -> bool:
    if is_open(row, now):
        return False
    if row.probe is not None and row.probe.state not in (*ENDED, State.HELD, State.AWAITING_APPROVAL):
        return False
    waiting = Action.objects.filter(breaker_key=row.key, state=State.APPROVED, lease=None)
    due = waiting.exclude(not_before__gt=now).exclude(expires_at__lte=now)
    row.probe = due.order_by("-priority", "pk").first()
    row.state = S.HALF_OPEN if row.probe else row.state
    row.save()
    return row.probe is not None


def _record_event(row: CircuitBreaker, verb: str, by: str, facts: dict[str, Any], **more: Any) -> None:
    known = {"environment": str(row.environment_id), "type": row.type, **facts}
    record(NewEvent(row.tenant_id, breaker_subject(row), verb, by, facts=known, **more))


def breaker_subject(row: CircuitBreaker) -> Subject:
    return Subject("breaker", row.pk, f"Breaker of {row.type} at {row.target or 'the environment'}", "/system/")


def reset(row_id: UUID, by: str, *, reason: str = "", correlation_id: str = "") -> bool:
    """Close a breaker for a person; False if it was closed. Locks its row."""
    with transaction.atomic():
        row = CircuitBreaker.objects.select_for_update().filter(pk=row_id).first()
        if row is None or (row.state == S.CLOSED and not row.failures):
            return False
        facts = {"was": row.state, "failures": row.failures}
        close(row)
        row.save()
        private = {"reason": reason} if reason else {}
        _record_event(row, "breaker.reset", by, facts, private=private, correlation_id=correlation_id)
    return True


# Circuit breakers for people: list, find, reset, explain.


MAX_BREAKERS = 100


def visible_breakers(access: Access) -> QuerySet[CircuitBreaker]:
    """The breakers with failures that the caller may view; open ones first."""
    counting = visible_to(CircuitBreaker.objects.select_related("environment", "probe"), access).filter(
        ~Q(state=S.CLOSED) | Q(failures__gt=0)
    )
    return counting.order_by("-state", "-failed_at", "pk")


def find_breaker(access: Access, breaker_id: UUID) -> CircuitBreaker:
    """Raises NotFound, also for another tenant's."""
    found = (
        visible_to(CircuitBreaker.objects.select_related("environment", "probe"), access).filter(pk=breaker_id).first()
    )
    if found is None:
        raise NotFound
    return found


def reset_breaker(access: Access, breaker_id: UUID, reason: str, *, correlation_id: str = "") -> CircuitBreaker:
    """Close a breaker, so that waiting actions start at once. Raises NotFound, NotAllowed, WrongState."""
    found = find_breaker(access, breaker_id)
    if not access.can("operate", found.environment_id):
        raise NotAllowed(
            "Only an operator of the environment may reset this circuit breaker.",
            remedies=["Ask an operator, or wait: when its time is over, one action probes the target automatically."],
        )
    if not reset(found.pk, str(access.principal.pk), reason=reason, correlation_id=correlation_id):
        raise WrongState("This circuit breaker is closed and has no failures; there is nothing to reset.")
    transaction.on_commit(lambda: wake_up("execute"))
    return find_breaker(access, breaker_id)


def breakers_blocking(actions: Iterable[Action]) -> dict[UUID, CircuitBreaker]:
    """The open breaker of each of these actions that could start without it. One query."""
    keys = {a.pk: a.breaker_key for a in actions if a.breaker_key}
    shut = {b.key: b for b in CircuitBreaker.objects.filter(key__in=set(keys.values())).exclude(state=S.CLOSED)}
    return {pk: shut[key] for pk, key in keys.items() if key in shut and shut[key].probe_id != pk}


def breaker_name(breaker: CircuitBreaker) -> str:
    return f"{breaker.type} at {breaker.target}" if breaker.target else breaker.type


def describe_breaker(breaker: CircuitBreaker) -> str:
    """Why an action waits for this breaker, in a sentence."""
    failed = f"{breaker.failures} failures in a row, the last: {breaker.code}"
    if breaker.state == S.HALF_OPEN:
        return (
            f"The circuit breaker of {breaker_name(breaker)} is half-open: another action probes it first ({failed})."
        )
    return f"The circuit breaker of {breaker_name(breaker)} is open until {_moment(breaker.open_until)} ({failed})."


def _moment(at: datetime | None) -> str:
    return f"{at:%d %b %H:%M:%S} UTC" if at else "it is reset"

"""Signal handlers of actions, and where they are connected."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from actions.audit_hooks import subjects
from actions.backtests.start import backtest_facts
from actions.controls.nodes import limited_routes
from actions.controls.quarantine import DatabaseQuarantineStore
from actions.controls.worker_queues import node_queue, wake_and_publish
from actions.lifecycle.commit import Changed, advance, committed
from actions.lifecycle.context import ActionContext
from actions.live import connection_access
from actions.live.news import change_messages, publish_log_written
from actions.models import Action
from actions.models.states import TO_DECIDE, TO_EXECUTE
from actions.run.transcript import lines_written
from actions.types.clear_quarantine.executor import register_quarantine_store
from actions.types.config_change.rule_targets import register_backtest_reader
from approvals.errors import AlreadyStarted
from approvals.models import Request
from approvals.requests.decisions import request_decided
from approvals.requests.withdraw import request_reopened


def connect_signals() -> None:
    request_decided.connect(on_request_decided, dispatch_uid="actions.signals")
    request_reopened.connect(on_request_reopened, dispatch_uid="actions.signals")
    committed.connect(on_committed, dispatch_uid="actions.signals")
    lines_written.connect(on_lines_written, dispatch_uid="actions.signals.said")
    connection_access.register_permission_signals()
    register_backtest_reader(backtest_facts)
    register_quarantine_store(DatabaseQuarantineStore())
    subjects.register_subjects()
    subjects.register_evidence()
    subjects.register_erasure()
    subjects.register_reports()


# Follow a decided or reopened request: move its action, inside the same transaction.


VERBS = {"approved": "approve", "rejected": "reject"}


def on_request_decided(sender: Any, *, request: Request, outcome: str, by: str, at: datetime, **kwargs: Any) -> None:
    """Approve or reject the action of a decided request. Locks the action's row, after the request's."""
    if request.subject_kind != "action" or outcome not in VERBS:
        return
    verb = VERBS[outcome]
    ttl_s = approval_lifetime_s(request.subject_id, at) if verb == "approve" else None
    facts = {"request": str(request.pk), "digest": request.digest}
    moved = advance([request.subject_id], verb, by=by, facts=facts, ttl_s=ttl_s)
    if not moved:
        raise RuntimeError(f"request {request.pk} was decided, but its action was not waiting for it")


def on_request_reopened(
    sender: Any, *, request: Request, by: str, correlation_id: str, ttl_s: int, **kwargs: Any
) -> None:
    """Take an approved action back to awaiting approval. Raises AlreadyStarted if it no longer waits to start."""
    if request.subject_kind != "action":
        return
    facts = {
        "request": str(request.pk),
        "digest": request.digest,
        "because": "withdrawn",
        "required_approvals": request.required_approvals,
    }
    if not advance([request.subject_id], "reopen", by=by, facts=facts, ttl_s=ttl_s):
        raise AlreadyStarted(remedies=["Abort the run instead, if it is still running."])


def approval_lifetime_s(action_id: UUID, at: datetime) -> int:
    """How long an approval may be used: its usual lifetime, counted from when the action may start."""
    not_before = Action.objects.filter(pk=action_id).values_list("not_before", flat=True).first()
    wait_s = max(0, (not_before - at).total_seconds()) if not_before else 0
    return int(wait_s) + int(settings.INTERLOCK.approval_ttl_s)


# After a commit: wake up the workers that have the next turn, and notify open pages, once per group.


QUEUE_STATES = (("decide", TO_DECIDE), ("execute", TO_EXECUTE))
INCIDENT_STATES = {"failed", "held", "rolled_back"}


def on_lines_written(sender: Any, *, contexts: list[ActionContext], **kwargs: Any) -> None:
    """Notify the open pages of these actions of new log lines. Never raises."""
    publish_log_written(context.action for context in contexts)


def on_committed(sender: Any, *, changes: list[Changed], **kwargs: Any) -> None:
    """Send one wake-up per queue and one message per environment, for any number of actions, at once. Never raises."""
    queues = [route for name, states in QUEUE_STATES for route in _routes(name, states, changes)]
    if not INCIDENT_STATES.isdisjoint(c.state for c in changes):
        queues.append("incidents")
    wake_and_publish(queues, change_messages(changes))


def _routes(queue: str, states: tuple[str, ...], changes: list[Changed]) -> list[str]:
    """The queues to wake up: a node's own, or the general one and those of workers limited to the environment."""
    free = [c for c in changes if not c.leased and c.state in states]
    nodes = sorted({c.node for c in free})
    limited = limited_routes(queue, {c.environment_id for c in free if not c.node}) if "" in nodes else []
    return [node_queue(queue, node) if node else queue for node in nodes] + limited

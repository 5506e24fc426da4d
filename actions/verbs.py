"""
What people may do to an action: the one gate that pages, API, admin and commands go through.

Every verb takes the caller's Access, finds the action through it (a foreign one is as unknown as one that never was),
checks the permission, makes one guarded move, and raises a Problem that says what to do next if it could not.
"""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.db import transaction

from actions.errors import NotAllowed, NothingToUndo, OnlySimulated, WrongState
from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.lifecycle import MOVES, Note, advance, note
from actions.models import Action
from actions.scheduling.waits import refused
from actions.settle import left_by, settle_step, way_on
from actions.states import ENDED, State
from actions.types.registry import permission_for
from approvals.models import Request
from approvals.requests.decisions import accept as accept_request
from approvals.requests.decisions import can_decide, decide
from approvals.requests.lifecycle import cancel_open
from approvals.requests.withdraw import can_withdraw, withdraw_approval, withdraw_change_request
from approvals.requests.withdraw import request_changes as ask_request
from audit.errors import NotFound
from tenants.access import Access, visible_to

S = State
RUNNING = (S.IN_PROGRESS, S.VERIFYING)
UNDOABLE = (S.COMPLETED,)
REMEDIES = {
    "switch": "Lift the switch of the environment first; what it holds then goes on by itself.",
    "cap": "Wait until one of them has ended, or ask a tenant admin to raise the cap.",
}
JOINED = ("environment__tenant", "requester__owner", "plan", "tenant")


def find(access: Access, action_id: UUID | str) -> Action:
    """Return an action that the caller may view, with environment, requester and plan. Raises NotFound."""
    try:
        key = action_id if isinstance(action_id, UUID) else UUID(action_id)
    except ValueError:
        raise NotFound from None
    found = visible_to(Action.objects.select_related(*JOINED), access).filter(pk=key).first()
    if found is None:
        raise NotFound
    return found


def accept(access: Access, action_id: UUID, digest: str, *, correlation_id: str = "") -> Action:
    """The requester accepts exactly the dry-run diff with this digest. Raises StaleDigest, Settled, NotEntitled."""
    action = find(access, action_id)
    request = open_request(action, "acceptance")
    accept_request(request.pk, access, digest=digest, correlation_id=correlation_id)
    return find(access, action_id)


def approve(
    access: Access, action_id: UUID, approved: bool, digest: str | None, comment: str, *, correlation_id: str = ""
) -> Action:
    """Decide on an action: approve the plan with exactly this digest, or reject. Raises what `decide` raises."""
    action = find(access, action_id)
    request = open_request(action, "approval")
    decide(request.pk, access, approved=approved, digest=digest, comment=comment, correlation_id=correlation_id)
    return find(access, action_id)


def request_changes(access: Access, action_id: UUID, comment: str, *, correlation_id: str = "") -> Action:
    """Say what has to change before this can be approved. Raises what `approvals.requests.withdraw` raises."""
    request = open_request(find(access, action_id), "approval")
    ask_request(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find(access, action_id)


def take_back_ask(access: Access, action_id: UUID, comment: str = "", *, correlation_id: str = "") -> Action:
    """Withdraw one's own wish for changes; if nothing else is missing, that approves the action."""
    request = open_request(find(access, action_id), "approval")
    withdraw_change_request(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find(access, action_id)


def take_back_approval(access: Access, action_id: UUID, comment: str = "", *, correlation_id: str = "") -> Action:
    """Take back one's own approval while the run has not begun; an approved action asks its people again."""
    action = find(access, action_id)
    request = request_of(action)
    if request is None or action.state not in (S.AWAITING_APPROVAL, S.APPROVED):
        raise WrongState(
            f"This action is {words(action.state)}; an approval can be taken back only before it begins.",
            remedies=["Abort the run instead, if it is still going on."],
        )
    withdraw_approval(request.pk, access, comment=comment, correlation_id=correlation_id)
    return find(access, action_id)


def open_request(action: Action, kind: str) -> Request:
    """The open request of an action; in any other case WrongState says where the action is and what that means."""
    request = request_of(action)
    if request is None or action.state != S.AWAITING_APPROVAL or request.state != "open":
        raise WrongState(
            f"This action is {words(action.state)}; there is nothing to decide.",
            remedies=["Look at the action again: what can be done now is under `allowed`."],
        )
    if request.kind != kind:
        if request.kind == "acceptance":
            raise WrongState(
                "No required approval is asked for; the action waits for its requester to accept the dry-run diff.",
                remedies=[f"POST /api/actions/{action.pk}/accept with the plan's digest, as the requester."],
            )
        raise WrongState("Required approvals are asked for; accepting the diff does not fill them.")
    return request


def request_of(action: Action) -> Request | None:
    """The newest request about an action, whatever became of it."""
    found = Request.objects.filter(subject_kind="action", subject_id=action.pk)
    return found.order_by("-opened_at", "-id").first()


def cancel(access: Access, action_id: UUID, reason: str, *, correlation_id: str = "") -> Action:
    """Withdraw an action that has not begun: its requester, or an operator of the environment."""
    action = find(access, action_id)
    require(may_stop(access, action), "Only its requester or an operator of the environment may withdraw this action.")
    with transaction.atomic():
        cancel_open([action.pk])
        moved = _advance(access, action, "cancel", reason, correlation_id)
    return _or_wrong_state(access, moved, action, "withdrawn", "Abort it instead." if action.state in RUNNING else "")


def abort(access: Access, action_id: UUID, reason: str, *, correlation_id: str = "") -> Action:
    """
    Stop an action: before it began it ends cancelled; while it runs a wish is recorded, which the worker obeys at the
    next checkpoint, undoing what was done.
    """
    action = find(access, action_id)
    if action.state in MOVES["cancel"].sources:
        return cancel(access, action_id, reason, correlation_id=correlation_id)
    require(access.can("operate", action.environment_id) or may_stop(access, action), "You may not stop this run.")
    wish = Note("action.abort_requested", _facts(correlation_id), {"reason": reason} if reason else {})
    done = action.state in RUNNING and note(action, wish, by=str(access.principal.pk), stop=True)
    if not done:
        again = find(access, action_id)
        if again.state in RUNNING and again.seq != action.seq:
            return abort(access, action_id, reason, correlation_id=correlation_id)
        return _or_wrong_state(access, [], again, "aborted", "")
    return find(access, action_id)


def resume(
    access: Access,
    action_id: UUID,
    reason: str,
    *,
    how: str = "",
    step_done: bool | None = None,
    correlation_id: str = "",
) -> Action:
    """
    Settle a held action: `continue` (forward, or backward if it was rolling back), `rollback` or `give_up`.

    A step in doubt wants `step_done`, what the person found: True records its receipt, False lets it be tried again.
    What was held before it began can only be given up. Raises WrongState, NotAllowed.
    """
    action = find(access, action_id)
    require(
        access.can("operate", action.environment_id), "Only an operator of the environment may settle a held action."
    )
    if action.state != S.HELD:
        return _or_wrong_state(access, [], action, "resumed", "Only a held action can be resumed.")
    verb = way_on(action, how, step_done)
    with transaction.atomic():
        if step_done is not None:
            settle_step(action, step_done, by=str(access.principal.pk))
        moved = _advance(access, action, verb, reason, correlation_id, **left_by(action, how, step_done))
    return _or_wrong_state(access, moved, action, "resumed", "Only a held action can be resumed.")


def rollback(access: Access, action_id: UUID, reason: str, *, correlation_id: str = "") -> tuple[Action, bool]:
    """
    Undo an action. A completed one gets a linked new action that goes through the gate; a failed or held one whose
    steps left something behind is rolled back itself. Returns the action to look at and whether it is new.
    """
    action = find(access, action_id)
    if action.simulated:
        raise OnlySimulated(remedies=["To do it after all, propose it again for real."])
    if action.state in UNDOABLE:
        return _undo(access, action, reason, correlation_id), True
    require(access.can("operate", action.environment_id), "Only an operator of the environment may roll a run back.")
    if action.state not in (S.FAILED, S.HELD):
        return _or_wrong_state(access, [], action, "rolled back", "Abort it while it runs."), False
    if action.started_at is None or not action.plan:
        raise NothingToUndo
    if action.state == S.HELD:
        way_on(action, "rollback", None)
    moved = _advance(access, action, "roll_back", reason, correlation_id, sets={"rollback_to": ""})
    return _or_wrong_state(access, moved, action, "rolled back", ""), False


def _undo(access: Access, action: Action, reason: str, correlation_id: str) -> Action:
    if not action.plan or not action.plan.counts.get("changes"):
        raise NothingToUndo
    require(may_propose_again(access, action), "You may not propose actions like this in this environment.")
    submission = again(action, reason or f"Undo of {action.title}")
    submission.title = f"Undo: {action.title}"[:200]
    submission.security_level, submission.checks, submission.accept = action.security_level, [], False
    submission.recovery = {}
    made, _ = submit(access, submission, correlation_id=correlation_id or action.correlation_id, undo_of=action)
    return made


def retry(access: Access, action_id: UUID, reason: str, *, mode: str = "", correlation_id: str = "") -> Action:
    """Propose an ended action again, as a linked new one that goes through the gate.

    `mode`: apply or simulate, else as it was; that is how what was simulated is run for real.
    """
    action = find(access, action_id)
    if action.state not in ENDED:
        return _or_wrong_state(access, [], action, "retried", "Wait until it has ended.")
    submission = again(action, reason or action.reason)
    submission.mode = mode or submission.mode
    correlation = correlation_id or action.correlation_id
    made, _ = submit(access, submission, correlation_id=correlation, retry_of=action, undo_of=action.undo_of)
    return made


def again(action: Action, reason: str) -> Submission:
    """The submission that would propose an action again: the form's prefill, and what `retry` submits."""
    return Submission(
        type=action.type,
        environment=action.environment.slug,
        parameters=action.parameters,
        reason=reason,
        title=action.title,
        target=action.target,
        checks=action.checks,
        ticket=action.ticket,
        rollback=action.rollback,
        watch=action.watch,
        recovery=action.recovery,
        external_url=action.external_url,
        security_level=action.security_level,
        confidence=action.confidence,
        priority=action.priority,
        timeout_s=action.timeout_s,
        mode="simulate" if action.simulated else "apply",
    )


def allowed(access: Access, action: Action, request: Request | None = None) -> list[str]:
    """The verbs that the caller could use on this action now. Queries the open request only where one may exist."""
    verbs = moves_open_to(access, action)
    if action.state == S.AWAITING_APPROVAL:
        request = request or request_of(action)
        if request is not None and request.state == "open" and can_decide(request, access)[0]:
            verbs = [*decisions_on(request), *verbs]
    if action.state in (S.AWAITING_APPROVAL, S.APPROVED):
        request = request or request_of(action)
        if request is not None:
            verbs = [*verbs, *second_thoughts(request, access, request.decisions.all(), request.change_requests.all())]
    return verbs


def second_thoughts(request: Request, access: Access, decisions: Iterable[Any], asks: Iterable[Any]) -> list[str]:
    """The verbs by which the caller could take back what they said. Pure, given what was said."""
    me = access.principal.pk
    asked = request.state == "open" and any(a.principal_id == me and a.withdrawn_at is None for a in asks)
    given = can_withdraw(request, decisions, me)
    return [*(["withdraw_change_request"] if asked else []), *(["withdraw"] if given else [])]


def moves_open_to(access: Access, action: Action) -> list[str]:
    """The verbs but for decisions that the caller could use now. No query, if requester and plan are joined."""
    tests: dict[str, Callable[[], bool]] = {
        "cancel": lambda: action.state in MOVES["cancel"].sources and may_stop(access, action),
        "abort": lambda: (
            action.state in RUNNING
            and not action.stop_requested_at
            and (access.can("operate", action.environment_id) or may_stop(access, action))
        ),
        "rollback_to": lambda: (
            action.state in (*RUNNING, S.HELD)
            and action.started_at is not None
            and not (action.stop_requested_at or action.simulated or action.held_reason == "in_doubt")
            and action.steps_done > 0
            and access.can("operate", action.environment_id)
        ),
        "resume": lambda: action.state == S.HELD and access.can("operate", action.environment_id),
        "rollback": lambda: _may_roll_back(access, action),
        "retry": lambda: action.state in ENDED and may_propose_again(access, action),
    }
    return [verb for verb, test in tests.items() if test()]


def decisions_on(request: Request) -> list[str]:
    """The verbs that settle a request of this kind."""
    return ["accept"] if request.kind == "acceptance" else ["approve", "reject", "request_changes"]


def _may_roll_back(access: Access, action: Action) -> bool:
    if action.plan is None or action.simulated or not action.plan.counts.get("changes"):
        return False
    if action.state in UNDOABLE:
        return may_propose_again(access, action)
    begun = action.state in (S.FAILED, S.HELD) and action.started_at is not None and action.held_reason != "in_doubt"
    return begun and access.can("operate", action.environment_id)


def may_propose_again(access: Access, action: Action) -> bool:
    """Whether the caller may propose actions of this one's type where it landed."""
    return access.can(permission_for(action.type), action.environment_id)


def may_stop(access: Access, action: Action) -> bool:
    mine = action.requester_id == access.principal.pk or action.requester.owner_id == access.principal.pk
    may = access.can("propose", action.environment_id) or access.can("view", action.environment_id)
    return (mine and may) or access.can("operate", action.environment_id)


def require(entitled: bool, why: str) -> None:
    if not entitled:
        raise NotAllowed(why, remedies=["Ask a tenant admin for a role that allows it."])


def words(state: str) -> str:
    return str(state).replace("_", " ")


def _facts(correlation_id: str) -> dict[str, Any]:
    return {"via": correlation_id} if correlation_id else {}


def _advance(access: Access, action: Action, verb: str, reason: str, correlation_id: str, **more: Any) -> list[Action]:
    private = {"reason": reason} if reason else {}
    return advance(
        [action.pk],
        verb,
        by=str(access.principal.pk),
        correlation_id=correlation_id,
        private=private,
        facts={"reason_given": bool(reason)},
        **more,
    )


def _or_wrong_state(access: Access, moved: list[Action], action: Action, done: str, hint: str) -> Action:
    now = find(access, action.pk)
    if not moved:
        remedies = [hint] if hint else []
        if now.state == action.state and now.state in (S.HELD, S.FAILED) and (wait := refused(now)):
            raise WrongState(f"It cannot be {done} now. {wait.words}", remedies=[REMEDIES[wait.why]])
        raise WrongState(f"This action is {words(now.state)}; it cannot be {done} now.", remedies=remedies)
    return now

"""Find an action that the caller may view, and list the verbs that the caller may use on it now."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from actions.errors import NotAllowed
from actions.lifecycle.transitions import MOVES
from actions.models import Action
from actions.models.states import ENDED, State
from actions.types.registry import permission_for
from approvals.models import Request
from approvals.requests.decisions import can_decide
from approvals.requests.withdraw import can_withdraw
from audit.errors import NotFound
from tenants.access import Access, visible_to

STOPPABLE = (State.IN_PROGRESS, State.VERIFYING)
UNDOABLE = (State.COMPLETED,)
JOINED = ("environment__tenant", "requester__owner", "plan", "tenant")


def find_action(access: Access, action_id: UUID | str) -> Action:
    """Return an action that the caller may view, with environment, requester and plan. Raises NotFound."""
    try:
        key = action_id if isinstance(action_id, UUID) else UUID(action_id)
    except ValueError:
        raise NotFound from None
    found = visible_to(Action.objects.select_related(*JOINED), access).filter(pk=key).first()
    if found is None:
        raise NotFound
    return found


def latest_request(action: Action) -> Request | None:
    """The newest request of an action, in any state."""
    found = Request.objects.filter(subject_kind="action", subject_id=action.pk)
    return found.order_by("-opened_at", "-id").first()


def allowed_verbs(access: Access, action: Action, request: Request | None = None) -> list[str]:
    """The verbs that the caller could use on this action now. Queries the open request only where one may exist."""
    verbs = move_verbs(access, action)
    if action.state == State.AWAITING_APPROVAL:
        request = request or latest_request(action)
        if request is not None and request.state == "open" and can_decide(request, access)[0]:
            verbs = [*decision_verbs(request), *verbs]
    if action.state in (State.AWAITING_APPROVAL, State.APPROVED):
        request = request or latest_request(action)
        if request is not None:
            verbs = [*verbs, *withdrawal_verbs(request, access, request.decisions.all(), request.change_requests.all())]
    return verbs


def withdrawal_verbs(request: Request, access: Access, decisions: Iterable[Any], asks: Iterable[Any]) -> list[str]:
    """The verbs by which the caller could withdraw an own decision or request for changes. Pure, given those."""
    me = access.principal.pk
    asked = request.state == "open" and any(a.principal_id == me and a.withdrawn_at is None for a in asks)
    given = can_withdraw(request, decisions, me)
    return [*(["withdraw_change_request"] if asked else []), *(["withdraw"] if given else [])]


def move_verbs(access: Access, action: Action) -> list[str]:
    """The caller's verbs except decisions. No query, if requester and plan are joined."""
    tests: dict[str, Callable[[], bool]] = {
        "cancel": lambda: action.state in MOVES["cancel"].sources and may_stop(access, action),
        "abort": lambda: (
            action.state in STOPPABLE
            and not action.stop_requested_at
            and (access.can("operate", action.environment_id) or may_stop(access, action))
        ),
        "rollback_to": lambda: (
            action.state in (*STOPPABLE, State.HELD)
            and action.started_at is not None
            and not (action.stop_requested_at or action.simulated or action.held_reason == "in_doubt")
            and action.steps_done > 0
            and access.can("operate", action.environment_id)
        ),
        "resume": lambda: action.state == State.HELD and access.can("operate", action.environment_id),
        "rollback": lambda: _may_roll_back(access, action),
        "retry": lambda: action.state in ENDED and may_propose_again(access, action),
    }
    return [verb for verb, test in tests.items() if test()]


def decision_verbs(request: Request) -> list[str]:
    """The verbs that decide a request of this kind."""
    return ["accept"] if request.kind == "acceptance" else ["approve", "reject", "request_changes"]


def _may_roll_back(access: Access, action: Action) -> bool:
    if action.plan is None or action.simulated or not action.plan.counts.get("changes"):
        return False
    if action.state in UNDOABLE:
        return may_propose_again(access, action)
    begun = (
        action.state in (State.FAILED, State.HELD)
        and action.started_at is not None
        and action.held_reason != "in_doubt"
    )
    return begun and access.can("operate", action.environment_id)


def may_propose_again(access: Access, action: Action) -> bool:
    """Whether the caller may propose actions of this one's type where it landed."""
    return access.can(permission_for(action.type), action.environment_id)


def may_stop(access: Access, action: Action) -> bool:
    mine = action.requester_id == access.principal.pk or action.requester.owner_id == access.principal.pk
    may = access.can("propose", action.environment_id) or access.can("view", action.environment_id)
    return (mine and may) or access.can("operate", action.environment_id)


def require(is_allowed: bool, why: str) -> None:
    if not is_allowed:
        raise NotAllowed(why, remedies=["Ask a tenant admin for a role that allows it."])


def describe_state(state: str) -> str:
    return str(state).replace("_", " ")

"""What people do to an action, over HTTP. Every verb is the gate's: nothing is decided here."""

from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from actions import verbs
from actions.api.caller import access_of, correlation_of, id_of
from actions.api.reads import shown
from actions.api.schemas import AcceptIn, ActionOut, CommentIn, DecisionIn, ReasonIn, ResumeIn, RetryIn, RollbackIn
from actions.going_back import back_to

router = Router(tags=["verbs"])
DONE = {200: ActionOut}
MADE = {201: ActionOut}


@router.post("/actions/{action_id}/accept", response=DONE, summary="Accept the dry-run diff")
def accept(request: HttpRequest, action_id: str, body: AcceptIn) -> dict[str, Any]:
    """The requester accepts exactly the diff of the plan with this digest, where no required approval is asked for."""
    return shown(
        request, verbs.accept(access_of(request), id_of(action_id), body.digest, correlation_id=correlation_of(request))
    )


@router.post("/actions/{action_id}/approve", response=DONE, summary="Approve or reject")
def approve(request: HttpRequest, action_id: str, body: DecisionIn) -> dict[str, Any]:
    """Approve exactly the plan with this digest, or reject with a comment. 409 if the plan is another one by now."""
    done = verbs.approve(
        access_of(request),
        id_of(action_id),
        body.approved,
        body.digest,
        body.comment,
        correlation_id=correlation_of(request),
    )
    return shown(request, done)


@router.post("/actions/{action_id}/ask-for-changes", response=DONE, summary="Ask for changes")
def request_changes(request: HttpRequest, action_id: str, body: CommentIn) -> dict[str, Any]:
    """Say what has to change. Until you withdraw it, or the action is proposed anew, nothing is approved."""
    access, via = access_of(request), correlation_of(request)
    return shown(request, verbs.request_changes(access, id_of(action_id), body.comment, correlation_id=via))


@router.post("/actions/{action_id}/withdraw-ask", response=DONE, summary="No longer ask for changes")
def withdraw_change_request(request: HttpRequest, action_id: str, body: CommentIn) -> dict[str, Any]:
    """Withdraw your wish for changes. If every required approval is filled by then, that approves the action."""
    access, via = access_of(request), correlation_of(request)
    return shown(request, verbs.take_back_ask(access, id_of(action_id), body.comment, correlation_id=via))


@router.post("/actions/{action_id}/withdraw", response=DONE, summary="Take your approval back")
def withdraw(request: HttpRequest, action_id: str, body: CommentIn) -> dict[str, Any]:
    """Take your approval back before the run begins; an approved action then asks its people again."""
    access, via = access_of(request), correlation_of(request)
    return shown(request, verbs.take_back_approval(access, id_of(action_id), body.comment, correlation_id=via))


@router.post("/actions/{action_id}/cancel", response=DONE, summary="Withdraw")
def cancel(request: HttpRequest, action_id: str, body: ReasonIn) -> dict[str, Any]:
    """Withdraw an action that has not begun."""
    return shown(
        request, verbs.cancel(access_of(request), id_of(action_id), body.reason, correlation_id=correlation_of(request))
    )


@router.post("/actions/{action_id}/abort", response=DONE, summary="Stop")
def abort(request: HttpRequest, action_id: str, body: ReasonIn) -> dict[str, Any]:
    """Stop at the next checkpoint and undo what was done; before it began, the same as cancel."""
    return shown(
        request, verbs.abort(access_of(request), id_of(action_id), body.reason, correlation_id=correlation_of(request))
    )


@router.post("/actions/{action_id}/resume", response=DONE, summary="Settle a held action")
def resume(request: HttpRequest, action_id: str, body: ResumeIn) -> dict[str, Any]:
    """Continue, roll back or give up an action that is held."""
    done = verbs.resume(
        access_of(request),
        id_of(action_id),
        body.reason,
        how=body.how,
        step_done=body.step_done,
        correlation_id=correlation_of(request),
    )
    return shown(request, done)


@router.post("/actions/{action_id}/rollback", response={**MADE, **DONE}, summary="Undo")
def rollback(request: HttpRequest, action_id: str, body: RollbackIn) -> Status[Any]:
    """Roll a failed or held run back, or with `to` a running or held one to a checkpoint, where it is held.

    Of a completed action, propose the undo: 201 with the new action.
    """
    if body.to:
        access, via = access_of(request), correlation_of(request)
        back = back_to(access, id_of(action_id), body.to, body.reason, correlation_id=via)
        return Status(200, shown(request, back))
    done, is_new = verbs.rollback(
        access_of(request), id_of(action_id), body.reason, correlation_id=correlation_of(request)
    )
    return Status(201 if is_new else 200, shown(request, done))


@router.post("/actions/{action_id}/retry", response=MADE, summary="Propose again")
def retry(request: HttpRequest, action_id: str, body: RetryIn) -> Status[Any]:
    """Propose an ended action again: 201 with the linked new action, which goes through the gate."""
    access, via = access_of(request), correlation_of(request)
    made = verbs.retry(access, id_of(action_id), body.reason, mode=body.mode, correlation_id=via)
    return Status(201, shown(request, made))

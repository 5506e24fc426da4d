"""Commands on an action, and comments on its plan. `actions.commands` decides."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from actions.api.request_context import action_response, parse_id
from actions.api.schemas import (
    AcceptIn,
    ActionOut,
    CommentIn,
    DecisionIn,
    PrincipalOut,
    ReasonIn,
    RequestBody,
    ResumeIn,
    RetryIn,
    RollbackIn,
)
from actions.commands import propose, review, rollback, stop_resume
from actions.commands.review import comment_on, resolve_thread
from actions.commands.rollback import rollback_to_step
from actions.lifecycle.allowed import find_action
from actions.queries.action_detail import serialize_principal
from approvals.models import Comment
from audit.web import correlation_of
from tenants.access import access_of

router = Router(tags=["verbs"])
RETURNS_ACTION = {200: ActionOut}
RETURNS_NEW_ACTION = {201: ActionOut}


@router.post("/actions/{action_id}/accept", response=RETURNS_ACTION, summary="Accept the dry-run diff")
def accept_plan_diff(request: HttpRequest, action_id: str, body: AcceptIn) -> dict[str, Any]:
    """The requester accepts exactly the diff of the plan with this digest, where no required approval is asked for."""
    return action_response(
        request,
        review.accept(access_of(request), parse_id(action_id), body.digest, correlation_id=correlation_of(request)),
    )


@router.post("/actions/{action_id}/approve", response=RETURNS_ACTION, summary="Approve or reject")
def approve_plan(request: HttpRequest, action_id: str, body: DecisionIn) -> dict[str, Any]:
    """Approve exactly the plan with this digest, or reject with a comment. 409 if the plan is another one by now."""
    done = review.approve(
        access_of(request),
        parse_id(action_id),
        body.approved,
        body.digest,
        body.comment,
        correlation_id=correlation_of(request),
    )
    return action_response(request, done)


@router.post("/actions/{action_id}/request-changes", response=RETURNS_ACTION, summary="Request changes")
def request_changes(request: HttpRequest, action_id: str, body: CommentIn) -> dict[str, Any]:
    """State the required changes. Until you withdraw it, or the action is proposed anew, nothing is approved."""
    access, via = access_of(request), correlation_of(request)
    return action_response(
        request, review.request_changes(access, parse_id(action_id), body.comment, correlation_id=via)
    )


@router.post(
    "/actions/{action_id}/withdraw-change-request", response=RETURNS_ACTION, summary="Withdraw a change request"
)
def withdraw_change_request(request: HttpRequest, action_id: str, body: CommentIn) -> dict[str, Any]:
    """Withdraw your change request. If every required approval is filled by then, that approves the action."""
    access, via = access_of(request), correlation_of(request)
    return action_response(
        request, review.withdraw_requested_changes(access, parse_id(action_id), body.comment, correlation_id=via)
    )


@router.post("/actions/{action_id}/withdraw", response=RETURNS_ACTION, summary="Take your approval back")
def withdraw_plan_approval(request: HttpRequest, action_id: str, body: CommentIn) -> dict[str, Any]:
    """Take your approval back before the run begins; an approved action then asks its people again."""
    access, via = access_of(request), correlation_of(request)
    return action_response(
        request, review.withdraw_approval(access, parse_id(action_id), body.comment, correlation_id=via)
    )


@router.post("/actions/{action_id}/cancel", response=RETURNS_ACTION, summary="Withdraw")
def cancel_action(request: HttpRequest, action_id: str, body: ReasonIn) -> dict[str, Any]:
    """Withdraw an action that has not begun."""
    return action_response(
        request,
        stop_resume.cancel(
            access_of(request), parse_id(action_id), body.reason, correlation_id=correlation_of(request)
        ),
    )


@router.post("/actions/{action_id}/abort", response=RETURNS_ACTION, summary="Stop")
def abort_action(request: HttpRequest, action_id: str, body: ReasonIn) -> dict[str, Any]:
    """Stop at the next checkpoint and undo what was done; before it began, the same as cancel."""
    return action_response(
        request,
        stop_resume.abort(access_of(request), parse_id(action_id), body.reason, correlation_id=correlation_of(request)),
    )


@router.post("/actions/{action_id}/resume", response=RETURNS_ACTION, summary="Resume, roll back or end a held action")
def resume_action(request: HttpRequest, action_id: str, body: ResumeIn) -> dict[str, Any]:
    """Continue, roll back or give up an action that is held."""
    done = stop_resume.resume(
        access_of(request),
        parse_id(action_id),
        body.reason,
        how=body.how,
        step_done=body.step_done,
        correlation_id=correlation_of(request),
    )
    return action_response(request, done)


@router.post("/actions/{action_id}/rollback", response={**RETURNS_NEW_ACTION, **RETURNS_ACTION}, summary="Undo")
def rollback_action(request: HttpRequest, action_id: str, body: RollbackIn) -> Status[Any]:
    """Roll a failed or held run back, or with `to` a running or held one to a checkpoint, where it is held.

    Of a completed action, propose the undo: 201 with the new action.
    """
    if body.to:
        access, via = access_of(request), correlation_of(request)
        back = rollback_to_step(access, parse_id(action_id), body.to, body.reason, correlation_id=via)
        return Status(200, action_response(request, back))
    done, is_new = rollback.rollback(
        access_of(request), parse_id(action_id), body.reason, correlation_id=correlation_of(request)
    )
    return Status(201 if is_new else 200, action_response(request, done))


@router.post("/actions/{action_id}/retry", response=RETURNS_NEW_ACTION, summary="Propose again")
def retry_action(request: HttpRequest, action_id: str, body: RetryIn) -> Status[Any]:
    """Propose an ended action again: 201 with the linked new action, which goes through the gate."""
    access, via = access_of(request), correlation_of(request)
    made = propose.retry(access, parse_id(action_id), body.reason, mode=body.mode, correlation_id=via)
    return Status(201, action_response(request, made))


# Comments on an action's plan.


comments_router = Router(tags=["comments"])
PAGE_SIZE = 100


class CommentOnPlanIn(RequestBody):
    text: str = Field(..., min_length=1, max_length=4_000)
    digest: str = Field("", max_length=64, description="Of the plan you speak of; empty: the current one.")
    change: int | None = Field(None, strict=True, ge=1, le=2**31 - 1, description="The change's number, from 1.")
    line: int | None = Field(None, strict=True, ge=1, le=10_000_000, description="A line of the change's new text.")
    reply_to: UUID | None = Field(None, description="A comment; the reply stands where its thread does.")


class ResolveThreadIn(RequestBody):
    resolved: bool = Field(True, strict=True)


class CommentOut(Schema):
    id: UUID
    digest: str
    change: int | None
    line: int | None
    reply_to: UUID | None
    author: PrincipalOut
    text: str = Field(..., description="Empty once it was erased.")
    at: datetime
    resolved_at: datetime | None


class CommentPage(Schema):
    items: list[CommentOut]
    next: str | None = Field(..., description="Send it as `after` to get what follows; null at the end.")


@comments_router.get("/actions/{action_id}/comments", response=CommentPage, summary="What was said about its plans")
def list_comments(request: HttpRequest, action_id: str, after: UUID | None = None) -> dict[str, Any]:
    """Every comment, oldest first."""
    action = find_action(access_of(request), action_id)
    found = Comment.objects.filter(tenant=action.tenant_id, subject_kind="action", subject_id=action.pk)
    found = found.filter(pk__gt=after) if after else found
    rows = list(found.select_related("author__owner").order_by("pk")[: PAGE_SIZE + 1])
    more = str(rows[PAGE_SIZE - 1].pk) if len(rows) > PAGE_SIZE else None
    return {"items": [serialize_comment(row) for row in rows[:PAGE_SIZE]], "next": more}


@comments_router.post("/actions/{action_id}/comments", response={201: CommentOut}, summary="Comment")
def add_comment(request: HttpRequest, action_id: str, body: CommentOnPlanIn) -> Status[Any]:
    """Comment on the plan, on one change of it, or on a comment. Whoever may view the action may."""
    access = access_of(request)
    made = comment_on(access, parse_id(action_id), **body.dict(), correlation_id=correlation_of(request))
    return Status(201, serialize_comment(made))


@comments_router.post(
    "/actions/{action_id}/comments/{comment_id}/resolve", response=CommentOut, summary="Resolve a thread"
)
def resolve_comment_thread(
    request: HttpRequest, action_id: str, comment_id: str, body: ResolveThreadIn
) -> dict[str, Any]:
    """Resolve a thread by its first comment, or with `resolved: false` take it up again."""
    access, via = access_of(request), correlation_of(request)
    return serialize_comment(
        resolve_thread(access, parse_id(action_id), parse_id(comment_id), body.resolved, correlation_id=via)[1]
    )


def serialize_comment(comment: Comment) -> dict[str, Any]:
    names = ("id", "digest", "change", "line", "text", "at", "resolved_at")
    return {
        **{n: getattr(comment, n) for n in names},
        "reply_to": comment.parent_id,
        "author": serialize_principal(comment.author),
    }

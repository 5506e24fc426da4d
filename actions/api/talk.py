"""Comments on an action's plan over HTTP."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from actions.api.caller import access_of, correlation_of, id_of
from actions.api.reads import who
from actions.api.schemas import Body, Who
from actions.talk import comment_on, settle_thread
from actions.verbs import find
from approvals.models import Comment

router = Router(tags=["comments"])
PAGE = 100


class CommentMade(Body):
    text: str = Field(..., min_length=1, max_length=4_000)
    digest: str = Field("", max_length=64, description="Of the plan you speak of; empty: the current one.")
    change: int | None = Field(None, strict=True, ge=1, le=2**31 - 1, description="The change's number, from 1.")
    line: int | None = Field(None, strict=True, ge=1, le=10_000_000, description="A line of the change's new text.")
    reply_to: UUID | None = Field(None, description="A comment; the reply stands where its thread does.")


class ResolvedIn(Body):
    resolved: bool = Field(True, strict=True)


class CommentOut(Schema):
    id: UUID
    digest: str
    change: int | None
    line: int | None
    reply_to: UUID | None
    author: Who
    text: str = Field(..., description="Empty once it was erased.")
    at: datetime
    resolved_at: datetime | None


class CommentPage(Schema):
    items: list[CommentOut]
    next: str | None = Field(..., description="Send it as `after` to get what follows; null at the end.")


@router.get("/actions/{action_id}/comments", response=CommentPage, summary="What was said about its plans")
def comments(request: HttpRequest, action_id: str, after: UUID | None = None) -> dict[str, Any]:
    """Every comment, oldest first."""
    action = find(access_of(request), action_id)
    found = Comment.objects.filter(tenant=action.tenant_id, subject_kind="action", subject_id=action.pk)
    found = found.filter(pk__gt=after) if after else found
    rows = list(found.select_related("author__owner").order_by("pk")[: PAGE + 1])
    more = str(rows[PAGE - 1].pk) if len(rows) > PAGE else None
    return {"items": [shown(row) for row in rows[:PAGE]], "next": more}


@router.post("/actions/{action_id}/comments", response={201: CommentOut}, summary="Comment")
def comment(request: HttpRequest, action_id: str, body: CommentMade) -> Status[Any]:
    """Comment on the plan, on one change of it, or on a comment. Whoever may view the action may."""
    access = access_of(request)
    made = comment_on(access, id_of(action_id), **body.dict(), correlation_id=correlation_of(request))
    return Status(201, shown(made))


@router.post("/actions/{action_id}/comments/{comment_id}/resolve", response=CommentOut, summary="Resolve a thread")
def resolve(request: HttpRequest, action_id: str, comment_id: str, body: ResolvedIn) -> dict[str, Any]:
    """Resolve a thread by its first comment, or with `resolved: false` take it up again."""
    access, via = access_of(request), correlation_of(request)
    return shown(settle_thread(access, id_of(action_id), id_of(comment_id), body.resolved, correlation_id=via)[1])


def shown(comment: Comment) -> dict[str, Any]:
    names = ("id", "digest", "change", "line", "text", "at", "resolved_at")
    return {**{n: getattr(comment, n) for n in names}, "reply_to": comment.parent_id, "author": who(comment.author)}

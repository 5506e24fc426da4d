"""Talking about an action's plan: who may view it may comment on it, through page and API alike."""

from uuid import UUID

from actions.lifecycle import subject_of
from actions.models import Action
from actions.verbs import find
from approvals.models import Comment
from approvals.requests.comments import add_comment, resolve_thread
from audit.errors import Invalid, NotFound
from tenants.access import Access


def comment_on(
    access: Access,
    action_id: UUID,
    text: str,
    *,
    digest: str = "",
    change: int | None = None,
    line: int | None = None,
    reply_to: UUID | None = None,
    correlation_id: str = "",
) -> Comment:
    """Comment on a plan of an action (its current one without a digest), or on change n of it, or reply.

    Raises NotFound, Invalid, CommentNeeded, TooManyComments.
    """
    action = find(access, action_id)
    plan = action.plan
    if digest and (plan is None or plan.digest != digest):
        plan = None if "\x00" in digest else action.plans.filter(digest=digest).order_by("-version").first()
        if plan is None:
            raise NotFound
    changes = plan.counts.get("changes", 0) if plan else 0
    if change is not None and not 1 <= change <= changes:
        raise Invalid(issues=[_issue(f"The plan has {changes} changes; number {change} is none of them.", "change")])
    if line is not None and change is None:
        raise Invalid(issues=[_issue("A line is a line of a change; say of which.", "line")])
    if line is not None and not 1 <= line <= 10_000_000:
        raise Invalid(issues=[_issue("Lines are counted from 1.", "line")])
    return add_comment(
        access,
        subject_of(action),
        action.environment_id,
        text,
        digest=plan.digest if plan else "",
        change=change,
        line=line,
        reply_to=reply_to,
        correlation_id=correlation_id,
    )


def settle_thread(
    access: Access, action_id: UUID, comment_id: UUID, done: bool, *, correlation_id: str = ""
) -> tuple[Action, Comment]:
    """Resolve a thread about an action, or take it up again. Raises NotFound."""
    action = find(access, action_id)
    return action, resolve_thread(access, subject_of(action), comment_id, done, correlation_id=correlation_id)


def _issue(message: str, field: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}

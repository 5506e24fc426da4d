"""Comment on a plan, resolve a thread, and record who has seen which plan."""

from collections.abc import Iterable
from uuid import UUID

import structlog
from django.db import DatabaseError

from actions.lifecycle.allowed import find_action, latest_request
from actions.lifecycle.commit import action_subject
from actions.models import Action, Plan
from actions.models.states import State
from approvals.models import Comment
from approvals.requests.comments import add_comment
from approvals.requests.comments import resolve_thread as comments_resolve_thread
from approvals.requests.view_tracking import record_view as view_tracking_record_view
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
    action = find_action(access, action_id)
    plan = action.plan
    if digest and (plan is None or plan.digest != digest):
        plan = None if "\x00" in digest else action.plans.filter(digest=digest).order_by("-version").first()
        if plan is None:
            raise NotFound
    changes = plan.counts.get("changes", 0) if plan else 0
    if change is not None and not 1 <= change <= changes:
        raise Invalid(issues=[_issue(f"The plan has {changes} changes; number {change} is none of them.", "change")])
    if line is not None and change is None:
        raise Invalid(issues=[_issue("`line` needs `change`.", "line")])
    if line is not None and not 1 <= line <= 10_000_000:
        raise Invalid(issues=[_issue("Lines are counted from 1.", "line")])
    return add_comment(
        access,
        action_subject(action),
        action.environment_id,
        text,
        digest=plan.digest if plan else "",
        change=change,
        line=line,
        reply_to=reply_to,
        correlation_id=correlation_id,
    )


def resolve_thread(
    access: Access, action_id: UUID, comment_id: UUID, done: bool, *, correlation_id: str = ""
) -> tuple[Action, Comment]:
    """Resolve a thread about an action, or take it up again. Raises NotFound."""
    action = find_action(access, action_id)
    return action, comments_resolve_thread(
        access, action_subject(action), comment_id, done, correlation_id=correlation_id
    )


def _issue(message: str, field: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}


# Who was shown what of a plan while it was asked for: noted wherever a plan or a diff is handed out.


log = structlog.get_logger(__name__)


def record_view(access: Access, action: Action, plan: Plan | None, opened: Iterable[int] = (), total: int = 0) -> None:
    """Note that the caller has been shown this plan, and these changes of it. Never fails the look itself."""
    if plan is None or action.state != State.AWAITING_APPROVAL:
        return
    try:
        view_tracking_record_view(latest_request(action), access, plan.digest, opened, total)
    except DatabaseError as error:
        log.warning("view_not_recorded", action=str(action.pk), error=str(error))

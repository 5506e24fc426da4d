"""Comments on a plan or one of its changes, in threads that can be resolved. Their texts can be erased."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from approvals.errors import CommentNeeded, TooManyComments
from approvals.models import ChangeRequest, Comment, Decision
from audit.database.clock import database_time
from audit.errors import Forbidden, Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.retention.erasure import register_eraser
from tenants.access import Access

MAX_TEXT = 4_000  # characters
MAX_COMMENTS = 1_000  # comments on one subject
COMMENTER_PERMISSIONS = ("propose", "approve", "operate", "administer")
"""One of these permissions in an environment is needed to comment there; viewers only read."""


@dataclass
class Thread:
    """A comment and its replies, oldest first. `is_old`: about an earlier plan than the one shown."""

    first: Comment
    replies: list[Comment] = field(default_factory=list)
    is_old: bool = False


def add_comment(
    access: Access,
    subject: Subject,
    environment_id: UUID,
    text: str,
    *,
    digest: str,
    change: int | None = None,
    line: int | None = None,
    reply_to: UUID | None = None,
    correlation_id: str = "",
) -> Comment:
    """Comment on a subject that the caller may view; a reply belongs to its thread. Event `comment.added`.

    Raises Forbidden, CommentNeeded, Invalid, NotFound (no such thread), TooManyComments.
    """
    require_may_comment(access, environment_id)
    text = text.replace("\x00", "").strip()
    if not text:
        raise CommentNeeded("The comment is empty.", issues=[_issue("The comment is empty.")])
    if len(text) > MAX_TEXT:
        raise Invalid("The comment is too long.", issues=[_issue(f"Keep it to {MAX_TEXT} characters.")])
    about = Comment.objects.filter(tenant=access.tenant, subject_kind=subject.kind, subject_id=subject.id)
    with transaction.atomic():
        parent = about.filter(pk=reply_to).select_related("parent").first() if reply_to else None
        if reply_to and parent is None:
            raise NotFound
        if about.count() >= MAX_COMMENTS:
            raise TooManyComments
        if parent is not None:
            parent = parent.parent or parent
            digest, change, line = parent.digest, parent.change, parent.line
        made = Comment(
            tenant=access.tenant,
            environment_id=environment_id,
            subject_kind=subject.kind,
            subject_id=subject.id,
            digest=digest,
            change=change,
            line=line,
            parent=parent,
            author_id=access.principal.pk,
            text=text,
            at=database_time(),
        )
        made.save(force_insert=True)
        facts = {"digest": digest, "change": change, "line": line, "reply_to": str(parent.pk) if parent else None}
        _record(access, made, "comment.added", facts, correlation_id, {"comment": text})
    return made


def resolve_thread(
    access: Access, subject: Subject, comment_id: UUID, done: bool, *, correlation_id: str = ""
) -> Comment:
    """Resolve or reopen a thread; anybody who may comment may. An event only if that changes anything."""
    with transaction.atomic():
        about = Comment.objects.filter(tenant=access.tenant, subject_kind=subject.kind, subject_id=subject.id)
        found = about.select_for_update(of=("self",)).filter(pk=comment_id, parent=None).first()
        if found is None:
            raise NotFound
        require_may_comment(access, found.environment_id)
        if bool(found.resolved_at) != done:
            found.resolved_at = database_time() if done else None
            found.resolved_by_id = access.principal.pk if done else None
            found.save(update_fields=["resolved_at", "resolved_by"])
            _record(access, found, "comment.resolved" if done else "comment.reopened", {}, correlation_id)
    return found


def may_comment(access: Access, environment_id: UUID) -> bool:
    """Whether somebody may comment on what happens in an environment."""
    return any(access.can(permission, environment_id) for permission in COMMENTER_PERMISSIONS)


def require_may_comment(access: Access, environment_id: UUID) -> None:
    """Raises Forbidden."""
    if not may_comment(access, environment_id):
        raise Forbidden(
            "You may read this, but not comment.",
            remedies=["Ask someone who may propose, approve or operate here."],
        )


def threads_of(tenant_id: UUID, kind: str, subject_id: UUID, digest: str) -> dict[int, list[Thread]]:
    """The threads about a subject by change (0: the whole plan, and threads about earlier plans). One query."""
    found = Comment.objects.filter(tenant=tenant_id, subject_kind=kind, subject_id=subject_id)
    threads: dict[UUID, Thread] = {}
    placed: dict[int, list[Thread]] = {}
    for comment in found.select_related("author", "resolved_by").order_by("at", "id"):
        if comment.parent_id is not None:
            if comment.parent_id in threads:
                threads[comment.parent_id].replies.append(comment)
            continue
        thread = threads[comment.pk] = Thread(comment, is_old=comment.digest != digest)
        placed.setdefault(0 if thread.is_old else comment.change or 0, []).append(thread)
    return placed


def _record(
    access: Access,
    comment: Comment,
    verb: str,
    facts: dict[str, Any],
    correlation_id: str,
    private: dict[str, str] | None = None,
) -> None:
    record(
        NewEvent(
            tenant=comment.tenant_id,
            subject=Subject(comment.subject_kind, comment.subject_id),
            verb=verb,
            actor=str(access.principal.pk),
            correlation_id=correlation_id,
            facts={"comment_id": str(comment.pk), **facts},
            private=private or {},
        )
    )


def _issue(message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": "text"}


# Erasure: a person's comments on decisions, change requests and threads.


def register_comment_erasure() -> None:
    register_eraser("comments", erase_comments)


def erase_comments(tenant: UUID, person: UUID) -> int:
    """Empty a person's comments in this tenant; return how many. Their decisions stay."""
    comments = Comment.objects.filter(tenant=tenant, author=person).exclude(text="").update(text="")
    decided = Decision.objects.filter(request__tenant=tenant, principal=person).exclude(comment="").update(comment="")
    requested = (
        ChangeRequest.objects.filter(request__tenant=tenant, principal=person).exclude(comment="").update(comment="")
    )
    return comments + decided + requested

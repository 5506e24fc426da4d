"""What this floor erases of a person: what they said when they decided, asked for changes, or talked."""

from uuid import UUID

from approvals.models import Decision
from approvals.records import Ask, Comment
from audit.retention.erasure import register_eraser


def connect() -> None:
    register_eraser("comments", erase_comments)


def erase_comments(tenant: UUID, person: UUID) -> int:
    """Empty a person's comments in this tenant; return how many. What they decided stands."""
    said = Comment.objects.filter(tenant=tenant, author=person).exclude(text="").update(text="")
    decided = Decision.objects.filter(request__tenant=tenant, principal=person).exclude(comment="").update(comment="")
    asked = Ask.objects.filter(request__tenant=tenant, principal=person).exclude(comment="").update(comment="")
    return said + decided + asked

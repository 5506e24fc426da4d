"""Who may read the log: whoever may `audit` in the whole tenant. What they may is asked of `request.access`."""

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from django.http import HttpRequest

from audit.errors import Forbidden, Unauthenticated

Auditing = Callable[[UUID, UUID], bool]
_auditing: list[Auditing] = []


class HasId(Protocol):
    @property
    def pk(self) -> Any: ...


class Reader(Protocol):
    """What this floor needs to know of an access (see the floor above)."""

    @property
    def principal(self) -> HasId: ...

    @property
    def tenant(self) -> HasId: ...

    def can(self, permission: str) -> bool: ...


def tenant_to_administer(request: HttpRequest) -> tuple[UUID, str]:
    """The id of the tenant that the caller administers, and who they are. Raises Unauthenticated, Forbidden."""
    access: Reader | None = getattr(request, "access", None)
    if access is None:
        raise Unauthenticated
    if not access.can("administer"):
        raise Forbidden(
            "Only who administers the tenant may change where its log goes.",
            remedies=["Ask a tenant admin to do it; a token needs the scope `administer`."],
        )
    return access.tenant.pk, str(access.principal.pk)


def may_administer(request: HttpRequest) -> bool:
    """Whether the caller administers the tenant they are in."""
    access: Reader | None = getattr(request, "access", None)
    return access is not None and access.can("administer")


def may_reach_private(request: HttpRequest) -> bool:
    """Whether the caller administers the installation, and so its network: nobody else's word opens it."""
    return may_administer(request) and bool(getattr(request.user, "is_superuser", False))


def tenant_to_audit(request: HttpRequest) -> UUID:
    """The id of the tenant whose log may be read. Raises Unauthenticated, Forbidden."""
    access: Reader | None = getattr(request, "access", None)
    if access is None:
        raise Unauthenticated
    if not access.can("audit"):
        raise Forbidden(
            "Only auditors of the tenant may read its audit log.",
            remedies=["Ask somebody who administers the tenant for the auditor role; a token needs the scope `audit`."],
        )
    tenant: UUID = access.tenant.pk
    return tenant


def register_auditing(fn: Auditing) -> None:
    """Let `fn(tenant, principal)` say whether somebody may audit the tenant now. The floor above does."""
    if fn not in _auditing:
        _auditing.append(fn)


def still_audits(tenant: UUID, actor: str) -> bool:
    """Whether the actor may audit the tenant now: for what is done in their name while they are away. One query."""
    try:
        principal = UUID(actor)
    except ValueError:
        return False
    return any(fn(tenant, principal) for fn in _auditing)

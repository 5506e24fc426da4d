"""What the pages and the API of the log share: who may read it, the correlation id, responses sent in pieces."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import wraps
from typing import Any, Protocol
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.cache import never_cache

from audit.errors import Forbidden, Unauthenticated

AuditCheck = Callable[[UUID, UUID], bool]
_audit_checks: list[AuditCheck] = []


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
            "Only a tenant admin can change where the log is sent.",
            remedies=["Ask a tenant admin. A token needs the scope `administer`."],
        )
    return access.tenant.pk, str(access.principal.pk)


def may_administer(request: HttpRequest) -> bool:
    """Whether the caller administers the tenant they are in."""
    access: Reader | None = getattr(request, "access", None)
    return access is not None and access.can("administer")


def may_reach_private_networks(request: HttpRequest) -> bool:
    """Whether the caller administers the installation, and so its network: nobody else's word opens it."""
    return may_administer(request) and bool(getattr(request.user, "is_superuser", False))


def tenant_to_audit(request: HttpRequest) -> UUID:
    """The id of the tenant whose log may be read. Raises Unauthenticated, Forbidden."""
    access: Reader | None = getattr(request, "access", None)
    if access is None:
        raise Unauthenticated
    if not access.can("audit"):
        raise Forbidden(
            "Only auditors of the tenant can read its audit log.",
            remedies=["Ask a tenant admin for the auditor role. A token needs the scope `audit`."],
        )
    tenant: UUID = access.tenant.pk
    return tenant


def register_audit_check(fn: AuditCheck) -> None:
    """Let `fn(tenant, principal)` say whether somebody may audit the tenant now. The floor above does."""
    if fn not in _audit_checks:
        _audit_checks.append(fn)


def may_still_audit(tenant: UUID, actor: str) -> bool:
    """Whether the actor may audit the tenant now: for what is done in their name while they are away. One query."""
    try:
        principal = UUID(actor)
    except ValueError:
        return False
    return any(fn(tenant, principal) for fn in _audit_checks)


# A response that is sent in pieces, under either server interface: what makes them is never run on the event loop.


def stream_response(
    request: HttpRequest, pieces: Iterator[bytes], media_type: str, name: str = ""
) -> StreamingHttpResponse:
    """Send these pieces as they are made, uncached; as a download of this name, where it has one."""
    sent: Iterable[bytes] | AsyncIterator[bytes] = (
        _iterate_async(pieces) if isinstance(request, ASGIRequest) else pieces
    )
    response = StreamingHttpResponse(sent, content_type=media_type)
    response["Cache-Control"] = "no-store"
    if name:
        response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


async def _iterate_async(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def take() -> bytes | None:
        return next(pieces, None)

    while (piece := await sync_to_async(take)()) is not None:
        yield piece


View = Callable[..., HttpResponseBase]


def auditors_only(view: View) -> View:
    """Let auditors through, with their tenant's id as the view's second argument; strangers are sent to sign in."""

    @never_cache
    @wraps(view)
    def entered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            tenant = tenant_to_audit(request)
        except Unauthenticated:
            if request.user.is_authenticated or request.headers.get("HX-Request"):
                raise
            return redirect_to_login(request.get_full_path())
        return view(request, tenant, *args, **kwargs)

    return entered


def auditor_of(request: HttpRequest) -> tuple[UUID, str]:
    """The tenant to audit, and who does. Raises Unauthenticated, Forbidden."""
    tenant = tenant_to_audit(request)
    access: Reader = request.access  # type: ignore[attr-defined]
    return tenant, str(access.principal.pk)


def correlation_of(request: HttpRequest) -> str:
    return getattr(request, "correlation_id", "")


def principal_id_of(request: HttpRequest) -> str:
    """The id of whoever asks."""
    return str(request.access.principal.pk)  # type: ignore[attr-defined]

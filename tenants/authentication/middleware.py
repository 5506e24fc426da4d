"""Set `request.access`, the principal and tenant of a request, before any view runs."""

from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse

from tenants.access import Access, access_for, tenants_of
from tenants.authentication.tokens import authenticate
from tenants.models import Tenant

HEADER = "X-Interlock-Tenant"


class AccessMiddleware:
    """Set `request.access`: of a Bearer token, else of the session's principal in its chosen tenant; else None.

    A token counts below /api/ only, and then the session does not. With several tenants the header decides, then the
    session's choice, then the first by slug. A tenant that is unknown or not theirs is 404.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        is_token = scheme.lower() == "bearer" and request.path.startswith("/api/")
        request.access = _access_of_token(request, credential.strip()) if is_token else _access_of_session(request)  # type: ignore[attr-defined]
        return self.get_response(request)


def _access_of_token(request: HttpRequest, raw: str) -> Access | None:
    token = authenticate(raw)
    if token is None:
        return None
    if request.headers.get(HEADER, token.tenant.slug) != token.tenant.slug:
        raise Http404
    request.user = token.principal
    return access_for(token.principal, token.tenant, token)


def _access_of_session(request: HttpRequest) -> Access | None:
    if not request.user.is_authenticated:
        return None
    mine = tenants_of(request.user)
    tenant = _chosen_tenant(request, mine)
    return access_for(request.user, tenant) if tenant else None


def _chosen_tenant(request: HttpRequest, mine: list[Tenant]) -> Tenant | None:
    named = request.headers.get(HEADER)
    slug = named if named is not None else request.session.get("tenant")
    chosen = next((tenant for tenant in mine if tenant.slug == slug), None)
    if chosen is None and named is not None:
        raise Http404
    return chosen or next(iter(mine), None)

"""The access of a long-lived connection, checked again while it lasts."""

from dataclasses import dataclass
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.signals import user_logged_out
from django.http import Http404, HttpRequest, HttpResponse

from actions.live.news import notify_principal
from tenants.access import Access
from tenants.authentication.middleware import HEADER, AccessMiddleware
from tenants.models import Principal
from tenants.roles import roles_changed


@dataclass(frozen=True)
class ConnectionAccess:
    """
    What a caller showed at the door. `access()` has the tenants' own middleware look at it anew: signed out, revoked,
    expired, out of every role are all the same None.
    """

    authorization: str = ""
    session_key: str = ""
    tenant: str = ""
    principal_id: UUID | None = None

    def access(self) -> Access | None:
        """What the caller may do now, in the same tenant as before. Some six queries."""
        request = self._request()
        try:
            AccessMiddleware(lambda _: HttpResponse())(request)
        except Http404:
            return None
        return request.access  # type: ignore[attr-defined]

    def is_signed_in(self) -> bool:
        """Whether the session still stands for somebody, whatever they may do."""
        return bool(self._request().user.is_authenticated)

    def _request(self) -> HttpRequest:
        """The request that would come now, as the API would see it."""
        request = HttpRequest()
        request.path = request.path_info = "/api/"
        request.META = {"HTTP_AUTHORIZATION": self.authorization} if self.authorization else {}
        if self.tenant:
            request.META[f"HTTP_{HEADER.upper().replace('-', '_')}"] = self.tenant
        request.session = _session_store()(self.session_key or None)
        request.user = get_user(request)
        return request

    def may_view(self, environment_id: UUID) -> bool:
        access = self.access()
        return access is not None and access.can("view", environment_id)

    @classmethod
    def of_request(cls, request: HttpRequest) -> "ConnectionAccess":
        """The standing of a request that the middleware let in."""
        access: Access = request.access  # type: ignore[attr-defined]
        authorization = request.headers.get("Authorization", "") if access.token else ""
        key = getattr(request.session, "session_key", None) or ""
        return cls(authorization, key, access.tenant.slug, access.principal.pk)

    @classmethod
    def from_scope(cls, scope: dict[str, Any]) -> "ConnectionAccess":
        """The standing of a socket: a Bearer token of a script, else the browser's session cookie."""
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope.get("headers", [])}
        authorization = headers.get("authorization", "")
        key = "" if authorization else _session_key(headers.get("cookie", ""))
        return cls(authorization, key, headers.get(HEADER.lower(), ""))


def _session_key(cookie: str) -> str:
    try:
        found = SimpleCookie(cookie).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return ""
    return found.value if found else ""


@lru_cache(maxsize=1)
def _session_store() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore


# Signals after which connections check their access again: a changed role, a sign-out.


def register_permission_signals() -> None:
    roles_changed.connect(on_roles_changed, dispatch_uid="actions.live.roles")
    user_logged_out.connect(on_signed_out, dispatch_uid="actions.live.signed_out")


def on_roles_changed(sender: Any, *, principal_id: UUID, **kwargs: Any) -> None:
    notify_principal(principal_id)


def on_signed_out(sender: Any, *, user: Principal | None, **kwargs: Any) -> None:
    if user is not None:
        notify_principal(user.pk)

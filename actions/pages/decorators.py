"""The door of every page: somebody who is signed in and belongs to a tenant."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect

from audit.errors import Forbidden
from tenants.access import Access

View = Callable[..., HttpResponse]


def require_member(view: View) -> View:
    """Let signed-in members through; send strangers to sign in, and tell who belongs to no tenant what to do."""

    @never_cache
    @wraps(view)
    def entered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if getattr(request, "access", None) is not None:
            return view(request, *args, **kwargs)
        if not request.user.is_authenticated:
            if request.headers.get("HX-Request"):
                return HttpResponse(status=401)
            return redirect_to_login(request.get_full_path())
        nowhere = Forbidden(
            "You are signed in, but you belong to no tenant.",
            remedies=["Ask an admin of your tenant for a role."],
        )
        return render(request, "problem.html", {"problem": nowhere}, status=403)

    return entered


def access_of(request: HttpRequest) -> Access:
    return request.access  # type: ignore[attr-defined]


def correlation_of(request: HttpRequest) -> str:
    """The request's correlation id, where the middleware gave it one."""
    return getattr(request, "correlation_id", "")


def redirect_to(request: HttpRequest, address: str) -> HttpResponse:
    """Send the browser on, whether the form was sent by htmx or without it."""
    return HttpResponseClientRedirect(address) if request.headers.get("HX-Request") else redirect(address)

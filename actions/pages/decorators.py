"""Page views: members only; a reason from a form; a redirect with or without htmx."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect

from audit.errors import Forbidden

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


def read_reason(request: HttpRequest) -> str:
    """The reason that a form was sent with, as it may be stored."""
    return request.POST.get("reason", "").replace("\x00", "").strip()[:4_000]


def redirect_to(request: HttpRequest, address: str) -> HttpResponse:
    """Send the browser on, whether the form was sent by htmx or without it."""
    return HttpResponseClientRedirect(address) if request.headers.get("HX-Request") else redirect(address)

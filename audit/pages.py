"""The audit log in the browser: read it, open an event, verify a subject's chain."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from audit.access import tenant_to_audit
from audit.errors import Unauthenticated
from audit.explore.context import explorer_context
from audit.log_filters import Filters
from audit.seals.checking import verify_subject_and_seals
from audit.subjects import subject_of

View = Callable[..., HttpResponseBase]


def auditors(view: View) -> View:
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


@require_safe
@auditors
def log(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """The page, or only the log when the log asks for itself."""
    is_fragment = request.headers.get("HX-Request") == "true"
    return render(request, "audit/_log.html" if is_fragment else "audit/log.html", explorer_context(request, tenant))


@require_POST
@auditors
def verify(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    """Verify one subject's chain now, and show what came out above its events."""
    subject = subject_of(tenant, subject_id)
    report = verify_subject_and_seals(tenant, subject.id)
    filters = Filters(subject=str(subject.id))
    context = explorer_context(request, tenant, filters, report)
    is_fragment = request.headers.get("HX-Request") == "true"
    return render(request, "audit/_chain.html" if is_fragment else "audit/log.html", context)

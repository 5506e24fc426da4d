"""Where the log goes: the page for auditors to see, and for admins to change."""

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls.converters import StringConverter
from django.views.decorators.http import require_http_methods, require_POST

from audit.access import may_administer, may_reach_private, tenant_to_administer
from audit.errors import Conflict, Forbidden, Invalid, Unavailable
from audit.pages import auditors
from audit.streams import verbs
from audit.streams.models import Stream

VERBS: dict[str, Callable[[UUID, UUID, str], str]] = {
    "pause": verbs.pause,
    "resume": verbs.resume,
    "remove": verbs.remove,
    "resend": verbs.resend,
}


class VerbConverter(StringConverter):
    """A verb in an address; anything else is no address."""

    regex = "|".join([*VERBS, "renew-secret"])


@require_http_methods(["GET", "HEAD", "POST"])
@auditors
def streams(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """The streams and how they stand; posting the form begins one."""
    if request.method != "POST":
        return _page(request, tenant)
    tenant, by = tenant_to_administer(request)
    wanted = _wanted(request)
    try:
        stream, secret = verbs.create(tenant, wanted, by, may_reach_private=may_reach_private(request))
    except (Invalid, Conflict, Forbidden) as refused:
        return _page(request, tenant, wanted=wanted, refused=refused, status=refused.status)
    if not secret:
        messages.success(request, f"{stream.name} is live.")
        return redirect("audit:streams")
    return _page(request, tenant, made=stream, secret=secret)


@require_POST
@auditors
def verb(request: HttpRequest, tenant: UUID, stream_id: UUID, name: str) -> HttpResponse:
    """Pause, resume, remove, send again what was given up, or make a new secret."""
    tenant, by = tenant_to_administer(request)
    if name == "renew-secret":
        stream, secret = verbs.renew_secret(tenant, stream_id, by)
        return _page(request, tenant, made=stream, secret=secret)
    try:
        messages.success(request, VERBS[name](tenant, stream_id, by))
    except Unavailable as refused:
        messages.error(request, refused.detail)
    return redirect("audit:streams")


def _wanted(request: HttpRequest) -> verbs.Wanted:
    post = request.POST
    return verbs.Wanted(
        name=post.get("name", "").strip(),
        kind=post.get("kind", ""),
        address=post.get("address", "").strip(),
        verbs=post.get("verbs", "").replace(",", " ").split(),
        allow_private=post.get("allow_private") == "on",
        from_start=post.get("from_start") == "on",
    )


def _page(
    request: HttpRequest,
    tenant: UUID,
    *,
    wanted: verbs.Wanted | None = None,
    refused: Invalid | Conflict | Forbidden | None = None,
    made: Stream | None = None,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    rows = verbs.standings(tenant)
    context = {
        "here": "audit", "on": "streams", "rows": rows, "kinds": Stream.Kind.choices, "wanted": wanted, "made": made,
        "secret": secret, "refused": refused, "may_change": may_administer(request),
        "may_reach_private": may_reach_private(request),
        "issues": {i["field"]: i["message"] for i in refused.extra.get("issues", [])} if refused else {},
    }  # fmt: skip
    return render(request, "audit/streams.html", context, status=status)

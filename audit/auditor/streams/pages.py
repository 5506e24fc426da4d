"""The page of export streams: auditors see it, admins change it."""

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls.converters import StringConverter
from django.views.decorators.http import require_http_methods, require_POST

from audit.auditor.streams import commands
from audit.errors import Conflict, Forbidden, Invalid, Unavailable
from audit.models.auditor import Stream
from audit.web import auditors_only, may_administer, may_reach_private_networks, tenant_to_administer

VERBS: dict[str, Callable[[UUID, UUID, str], str]] = {
    "pause": commands.pause,
    "resume": commands.resume,
    "remove": commands.remove,
    "resend": commands.resend,
}


class VerbConverter(StringConverter):
    """A verb in an address; anything else is no address."""

    regex = "|".join([*VERBS, "renew-secret"])


@require_http_methods(["GET", "HEAD", "POST"])
@auditors_only
def streams(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """The streams and their state; posting the form creates one."""
    if request.method != "POST":
        return _render_page(request, tenant)
    tenant, by = tenant_to_administer(request)
    wanted = _read_form(request)
    try:
        stream, secret = commands.create(
            tenant, wanted, by, may_reach_private_networks=may_reach_private_networks(request)
        )
    except (Invalid, Conflict, Forbidden) as refused:
        return _render_page(request, tenant, wanted=wanted, refused=refused, status=refused.status)
    if not secret:
        messages.success(request, f"{stream.name} is live.")
        return redirect("audit:streams")
    return _render_page(request, tenant, made=stream, secret=secret)


@require_POST
@auditors_only
def verb(request: HttpRequest, tenant: UUID, stream_id: UUID, name: str) -> HttpResponse:
    """Pause, resume, remove, send dead letters again, or replace the secret."""
    tenant, by = tenant_to_administer(request)
    if name == "renew-secret":
        stream, secret = commands.renew_secret(tenant, stream_id, by)
        return _render_page(request, tenant, made=stream, secret=secret)
    try:
        messages.success(request, VERBS[name](tenant, stream_id, by))
    except Unavailable as refused:
        messages.error(request, refused.detail)
    return redirect("audit:streams")


def _read_form(request: HttpRequest) -> commands.StreamRequest:
    post = request.POST
    return commands.StreamRequest(
        name=post.get("name", "").strip(),
        kind=post.get("kind", ""),
        address=post.get("address", "").strip(),
        verbs=post.get("verbs", "").replace(",", " ").split(),
        allow_private=post.get("allow_private") == "on",
        from_start=post.get("from_start") == "on",
    )


def _render_page(
    request: HttpRequest,
    tenant: UUID,
    *,
    wanted: commands.StreamRequest | None = None,
    refused: Invalid | Conflict | Forbidden | None = None,
    made: Stream | None = None,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    rows = commands.list_statuses(tenant)
    context = {
        "here": "audit",
        "on": "streams",
        "rows": rows,
        "kinds": Stream.Kind.choices,
        "wanted": wanted,
        "made": made,
        "secret": secret,
        "refused": refused,
        "may_change": may_administer(request),
        "may_reach_private_networks": may_reach_private_networks(request),
        "issues": {i["field"]: i["message"] for i in refused.extra.get("issues", [])} if refused else {},
    }
    return render(request, "audit/streams.html", context, status=status)

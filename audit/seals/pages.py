"""Verify the log in the browser: what was found, what runs, and a head that was kept, held against the log."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit.access import may_administer, may_reach_private, tenant_to_administer
from audit.errors import Conflict, Invalid, NotFound
from audit.pages import auditors
from audit.reports.wake import wake
from audit.seals import jobs, keys, shipping
from audit.seals.models import Checkpoint, HeadTarget, Verification
from audit.seals.status import integrity

SHOWN, MOST_DIGITS = 10, 18
DEPTHS = {
    "new": "What is new", "log": "The whole log", "range": "A range of entries",
    "subject": "One subject",
}  # fmt: skip
KINDS = {
    "edited": "It holds other bytes than were sealed.",
    "column_mismatch": "Its columns no longer say what was recorded.",
    "deleted": "It is gone, and what came after it is there.",
    "missing": "It is gone.",
    "truncated": "It is gone, and so is everything after it.",
    "inserted": "It was never sealed, and stands where a sealed event stood or none was.",
    "reordered": "Sealed events or entries stand in each other's places.",
    "forked": "Another history, whole in itself, stands where the sealed one stood.",
    "opening_mismatch": "A private value is not the one that the event committed to.",
    "artifact_edited": "A file that an event names has other bytes.",
    "artifact_missing": "A file that an event names is gone.",
}


@require_http_methods(["GET", "HEAD", "POST"])
@auditors
def verification(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """The page; what runs, alone, when it asks for itself; and a verification asked for."""
    issue = ""
    if request.method == "POST":
        try:
            jobs.ask(tenant, str(request.user.pk), **_asked(request))
            wake("audit.tasks.verify")
            return redirect("audit:verification")
        except (Invalid, Conflict) as refused:
            issue = str(refused)
        except NotFound:
            issue = "There is no such subject in this log. Copy its id from an event."
    is_fragment = request.headers.get("HX-Request") == "true" and request.method == "GET"
    name = "audit/_verifications.html" if is_fragment else "audit/verification.html"
    return render(request, name, _context(request, tenant, issue), status=422 if issue else 200)


@require_safe
@auditors
def head(request: HttpRequest, tenant: UUID, number: int) -> HttpResponse:
    """One signed head as the note it is, to be kept elsewhere."""
    found = Checkpoint.objects.filter(tenant=tenant, number=number).first() if number < 2**63 else None
    if found is None:
        raise NotFound
    response = HttpResponse(found.note, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="head-{number}.txt"'
    return response


@require_POST
@auditors
def add_target(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """Let heads be sent somewhere: for who administers the tenant."""
    tenant, who = tenant_to_administer(request)
    form = request.POST
    every_s = form.get("every_s", "").strip()
    try:
        if not (every_s.isascii() and every_s.isdecimal() and len(every_s) <= MOST_DIGITS):
            raise Invalid("Say in seconds how often heads are sent.")
        is_private = bool(form.get("allow_private")) and may_reach_private(request)
        shipping.add_target(tenant, form.get("kind", ""), form.get("address", "")[:500], int(every_s), who, is_private)
    except (Invalid, Conflict) as refused:
        context = _context(request, tenant, "", target_issue=str(refused))
        return render(request, "audit/verification.html", context, status=422)
    return redirect("audit:verification")


@require_POST
@auditors
def remove_target(request: HttpRequest, tenant: UUID, target_id: int) -> HttpResponse:
    tenant, who = tenant_to_administer(request)
    shipping.remove_target(tenant, min(target_id, 2**63 - 1), who)
    return redirect("audit:verification")


def _asked(request: HttpRequest) -> dict[str, Any]:
    """What the form says. Raises Invalid."""
    form = request.POST
    numbers = {name: form.get(name, "").strip() for name in ("first", "upto")}
    if any(n and not (n.isascii() and n.isdecimal() and len(n) <= MOST_DIGITS) for n in numbers.values()):
        raise Invalid("Entries are counted 0, 1, 2 …: give whole numbers.")
    depth, subject = form.get("depth", ""), form.get("subject", "").strip()
    try:
        subject_id = UUID(subject) if subject else None
    except ValueError:
        raise Invalid("A subject's id looks like 01a1fc91-0000-7000-8000-000000000000.") from None
    return {
        "depth": depth, "subject_id": subject_id if depth == "subject" else None, "head": form.get("head", "").strip(),
        "first": int(numbers["first"] or 0), "upto": int(numbers["upto"]) if numbers["upto"] else None,
    }  # fmt: skip


def _context(request: HttpRequest, tenant: UUID, issue: str, target_issue: str = "") -> dict[str, Any]:
    found = list(Verification.objects.filter(tenant=tenant).order_by("-asked_at")[:SHOWN])
    return {
        "here": "audit", "on": "verification", "issue": issue, "depths": DEPTHS, "form": request.POST,
        "integrity": integrity(tenant), "jobs": [_row(job) for job in found],
        "is_running": any(job.status != "done" for job in found),
        "heads": Checkpoint.objects.filter(tenant=tenant).order_by("-number")[:5],
        "may_administer": may_administer(request), "may_reach_private": may_reach_private(request),
        "target_issue": target_issue, "kinds": HeadTarget.Kind.choices,
        "keys": keys.public_keys(tenant), "targets": HeadTarget.objects.filter(tenant=tenant).order_by("pk")[:20],
    }  # fmt: skip


def _row(job: Verification) -> dict[str, Any]:
    span = max(job.total - job.first, 1)
    percent = min(max(job.position - job.first, 0), span) * 100 // span
    return {
        "it": job, "what": DEPTHS.get(job.depth, job.depth), "percent": 100 if job.status == "done" else percent,
        "kind": job.report.get("kind", ""), "words": KINDS.get(job.report.get("kind", ""), ""),
    }  # fmt: skip

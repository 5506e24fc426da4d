"""The pages of evidence packs: choose contents and audience, watch the progress, download."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit.evidence.api import is_large, job_response, pack_response, read_form, read_pack_request
from audit.evidence.contents import FULL, audiences, set_audience
from audit.evidence.jobs import OPEN_STATES, find_job, newest_jobs, request_pack
from audit.evidence.pack import plan_pack
from audit.log.events import Subject
from audit.log.subjects import find_subject
from audit.models.auditor import PackJob
from audit.web import auditors_only, may_administer, principal_id_of, tenant_to_administer

WITHHELD_LABELS = {
    "people": "names of people",
    "private:*": "everything people wrote",
    "artifact:log": "step logs",
    "artifact:plan": "machine plans",
    "artifact:changes": "change documents",
    "context:*": "incident and context",
    "artifact:verification": "verification reports",
    "artifact:other": "other artifacts",
}


@dataclass(frozen=True)
class ExportAddresses:
    """The addresses of a subject's evidence: these addresses differ between an action's pages and the audit log's."""

    page: str
    direct: str
    audience: str = ""

    @property
    def live(self) -> str:
        return f"{self.page}live/"


@require_http_methods(["GET", "HEAD", "POST"])
@auditors_only
def export(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    subject = find_subject(tenant, subject_id)
    if request.method == "POST":
        return handle_export(request, tenant, subject, _export_addresses(subject_id))
    return render(request, "audit/export.html", export_context(request, tenant, subject, _export_addresses(subject_id)))


@require_safe
@auditors_only
def export_live(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    subject = find_subject(tenant, subject_id)
    return render(request, "audit/_packs.html", export_context(request, tenant, subject, _export_addresses(subject_id)))


@require_safe
@auditors_only
def export_file(request: HttpRequest, tenant: UUID, subject_id: UUID, job_id: UUID) -> HttpResponseBase:
    return job_response(request, find_job(tenant, subject_id, job_id))


@require_safe
@auditors_only
def evidence(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponseBase:
    """The evidence pack of one subject, as a download; to the page with its progress when that takes a while."""
    subject = find_subject(tenant, subject_id)
    pack_request, form = read_pack_request(request, tenant)
    if pack_request.head_size is None and is_large(tenant, subject.id):
        return redirect(_export_addresses(subject_id).page)
    return pack_response(
        request, plan_pack(tenant, subject, pack_request), f"evidence-{subject.kind}-{subject.id}", form
    )


@require_POST
@auditors_only
def audience(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    """Set what is withheld from an audience. For tenant admins."""
    tenant, by = tenant_to_administer(request)
    words = request.POST.get("withheld", "").replace(",", " ").split()
    name = request.POST.get("name", "")
    set_audience(tenant, name, words, by, getattr(request, "correlation_id", ""))
    return redirect(_export_addresses(find_subject(tenant, subject_id).id).page)


def handle_export(request: HttpRequest, tenant: UUID, subject: Subject, place: ExportAddresses) -> HttpResponse:
    """Send the browser to the download; or, for a large one, begin to build it and show how far it is."""
    form, wanted = read_form(request.POST.get("form", "")), request.POST.get("audience") or FULL
    if not is_large(tenant, subject.id):
        return redirect(f"{place.direct}?{urlencode({'form': form, 'audience': wanted})}")
    request_pack(tenant, subject, wanted, form, principal_id_of(request), getattr(request, "correlation_id", ""))
    return redirect(place.page)


def export_context(request: HttpRequest, tenant: UUID, subject: Subject, place: ExportAddresses) -> dict[str, Any]:
    jobs = newest_jobs(tenant, subject.id)
    return {
        "here": "audit",
        "on": "log",
        "subject": subject,
        "place": place,
        "audiences": [
            {"name": a.audience, "withheld": sorted(a.withheld), "words": describe_withheld(a.withheld)}
            for a in audiences(tenant)
        ],
        "packs": [{"it": job, "percent": progress_percent(job)} for job in jobs],
        "is_building": any(job.state in OPEN_STATES for job in jobs),
        "is_large": is_large(tenant, subject.id),
        "may_administer": may_administer(request),
    }


def describe_withheld(withheld: frozenset[str]) -> str:
    """What is withheld, as text for people."""
    named = [WITHHELD_LABELS.get(word) or f"what is called {word.partition(':')[2]}" for word in sorted(withheld)]
    return f"without {', '.join(named)}" if named else "nothing is withheld"


def progress_percent(job: PackJob) -> int:
    return min(100, 100 * job.done // job.total) if job.total else 0


def _export_addresses(subject_id: UUID) -> ExportAddresses:
    page, direct, audience = (
        reverse(f"audit:{name}", args=[subject_id]) for name in ("export", "evidence", "audience")
    )
    return ExportAddresses(page, direct, audience)

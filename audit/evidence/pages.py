"""Taking evidence along, in the browser: choose what and for whom, watch it being built, download it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit.access import may_administer, tenant_to_administer
from audit.events import Subject
from audit.evidence.api import caller, set_audience
from audit.evidence.jobs import OPEN, ask, job_of, jobs_about
from audit.evidence.models import PackJob
from audit.evidence.pack import plan_pack
from audit.evidence.redaction import FULL, audiences
from audit.evidence.response import is_large, job_response, pack_response, read_form, read_wish
from audit.pages import auditors
from audit.subjects import subject_of

WORDS = {
    "people": "names of people", "private:*": "everything people wrote", "artifact:log": "step logs",
    "artifact:plan": "machine plans", "artifact:changes": "change documents", "context:*": "ticket and surroundings",
    "artifact:verification": "verification reports", "artifact:other": "other artifacts",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a subject's evidence is taken: these addresses differ between an action's pages and the audit log's."""

    page: str
    direct: str
    audience: str = ""

    @property
    def live(self) -> str:
        return f"{self.page}live/"


@require_http_methods(["GET", "HEAD", "POST"])
@auditors
def export(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    subject = subject_of(tenant, subject_id)
    if request.method == "POST":
        return asked(request, tenant, subject, _place(subject_id))
    return render(request, "audit/export.html", export_context(request, tenant, subject, _place(subject_id)))


@require_safe
@auditors
def export_live(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    subject = subject_of(tenant, subject_id)
    return render(request, "audit/_packs.html", export_context(request, tenant, subject, _place(subject_id)))


@require_safe
@auditors
def export_file(request: HttpRequest, tenant: UUID, subject_id: UUID, job_id: UUID) -> HttpResponseBase:
    return job_response(request, job_of(tenant, subject_id, job_id))


@require_safe
@auditors
def evidence(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponseBase:
    """The evidence pack of one subject, as a download; to the page with its progress when that takes a while."""
    subject = subject_of(tenant, subject_id)
    wish, form = read_wish(request, tenant)
    if wish.head_size is None and is_large(tenant, subject.id):
        return redirect(_place(subject_id).page)
    return pack_response(request, plan_pack(tenant, subject, wish), f"evidence-{subject.kind}-{subject.id}", form)


@require_POST
@auditors
def audience(request: HttpRequest, tenant: UUID, subject_id: UUID) -> HttpResponse:
    """Say what is withheld from an audience: for who administers the tenant."""
    tenant, by = tenant_to_administer(request)
    words = request.POST.get("withheld", "").replace(",", " ").split()
    name = request.POST.get("name", "")
    set_audience(tenant, name, words, by, getattr(request, "correlation_id", ""))
    return redirect(_place(subject_of(tenant, subject_id).id).page)


def asked(request: HttpRequest, tenant: UUID, subject: Subject, place: Place) -> HttpResponse:
    """Send the browser to the download; or, for a large one, begin to build it and show how far it is."""
    form, wanted = read_form(request.POST.get("form", "")), request.POST.get("audience") or FULL
    if not is_large(tenant, subject.id):
        return redirect(f"{place.direct}?{urlencode({'form': form, 'audience': wanted})}")
    ask(tenant, subject, wanted, form, caller(request), getattr(request, "correlation_id", ""))
    return redirect(place.page)


def export_context(request: HttpRequest, tenant: UUID, subject: Subject, place: Place) -> dict[str, Any]:
    jobs = jobs_about(tenant, subject.id)
    return {
        "here": "audit", "on": "log", "subject": subject, "place": place,
        "audiences": [{"name": a.audience, "withheld": sorted(a.withheld), "words": in_words(a.withheld)}
                      for a in audiences(tenant)],
        "packs": [{"it": job, "percent": percent(job)} for job in jobs],
        "is_building": any(job.state in OPEN for job in jobs),
        "is_large": is_large(tenant, subject.id),
        "may_administer": may_administer(request),
    }  # fmt: skip


def in_words(withheld: frozenset[str]) -> str:
    """What is left out, for people."""
    named = [WORDS.get(word) or f"what is called {word.partition(':')[2]}" for word in sorted(withheld)]
    return f"without {', '.join(named)}" if named else "nothing is withheld"


def percent(job: PackJob) -> int:
    return min(100, 100 * job.done // job.total) if job.total else 0


def _place(subject_id: UUID) -> Place:
    page, direct, audience = (
        reverse(f"audit:{name}", args=[subject_id]) for name in ("export", "evidence", "audience")
    )
    return Place(page, direct, audience)

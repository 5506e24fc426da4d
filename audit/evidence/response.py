"""Send evidence, in pieces, under either server interface; what was built in the background also from the middle on."""

import re
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from audit.errors import Conflict, Invalid
from audit.evidence.jobs import content, form_size, pieces_of
from audit.evidence.models import PackJob
from audit.evidence.pack import Pack, Wish
from audit.evidence.redaction import FULL, redaction_for
from audit.models import Event
from audit.streaming import streamed

FORMS = {"zip": "application/zip", "pdf": "application/pdf"}
LARGE_EVENTS = 2_000
"""From this many events on, a pack is built in the background."""
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


def pack_response(request: HttpRequest, pack: Pack, name: str, form: str = "zip") -> StreamingHttpResponse:
    """A download called `name`.zip (or the report, .pdf) with its length; artifacts are read while they are sent."""
    response = streamed(request, iter(pieces_of(pack, form)), FORMS[form], f"{name}.{form}")
    response["Content-Length"] = str(form_size(pack, form))
    return response


def job_response(request: HttpRequest, job: PackJob) -> HttpResponseBase:
    """What a job built; honours one `Range`, so that a download that broke off goes on. Raises Conflict before."""
    if job.state != PackJob.State.READY:
        raise Conflict("This pack is not built yet.", remedies=["Wait until it is ready, or ask for it again."])
    start, stop = _range(request, job)
    if start >= stop:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{job.size}"})
    name = f"evidence-{job.subject_kind}-{job.subject_id}.{job.form}"
    response = streamed(request, content(job, start, stop), FORMS[job.form], name)
    if stop - start < job.size:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{job.size}"
    response["Content-Length"] = str(stop - start)
    response["Accept-Ranges"], response["ETag"] = "bytes", f'"{job.sha256}"'
    return response


def read_form(text: str) -> str:
    """Raises Invalid."""
    form = text or "zip"
    if form not in FORMS:
        raise Invalid("A pack comes as zip or pdf.")
    return form


def read_wish(request: HttpRequest, tenant: UUID) -> tuple[Wish, str]:
    """What is asked for in the address: `audience`, `form`, `head`. Raises Invalid, NotFound for unknown audiences."""
    form, head = read_form(request.GET.get("form", "")), request.GET.get("head", "")
    if head and not re.fullmatch(r"[1-9][0-9]{0,17}", head):
        raise Invalid("`head` is the size of a signed head: a number.")
    redaction = redaction_for(tenant, request.GET.get("audience") or FULL)
    return Wish(redaction=redaction, head_size=int(head) if head else None), form


def is_large(tenant: UUID, subject_id: UUID) -> bool:
    return Event.objects.filter(tenant=tenant, subject_id=subject_id, seq__gte=LARGE_EVENTS).exists()


def _range(request: HttpRequest, job: PackJob) -> tuple[int, int]:
    match = RANGE.fullmatch(request.headers.get("Range", ""))
    if (
        match is None
        or not (match[1] or match[2])
        or request.headers.get("If-Range", f'"{job.sha256}"') != f'"{job.sha256}"'
    ):
        return 0, job.size
    if not match[1]:
        return max(0, job.size - int(match[2])), job.size
    return int(match[1]), min(int(match[2]) + 1, job.size) if match[2] else job.size

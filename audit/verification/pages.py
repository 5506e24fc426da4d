"""The verification page of auditors, and the public one, which needs no sign-in and tells no secrets."""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit.database.clock import database_time
from audit.errors import Conflict, Invalid, NotFound, Problem
from audit.jobs.wakeup import wake_up
from audit.models import seals
from audit.models.seals import HeadTarget, SignedTreeHead, Verification
from audit.seals import keys, publish_heads
from audit.seals.keys import origin_of
from audit.verification import jobs
from audit.verification.log import ExternalHead, check_external_head, read_external_heads
from audit.verification.status import integrity
from audit.verify import Broken, CannotCheck, Summary, verify_file
from audit.verify.signatures import InvalidNote, Verifier
from audit.web import auditors_only, may_administer, may_reach_private_networks, tenant_to_administer

JOBS_SHOWN, MAX_DIGITS = 10, 18
DEPTHS = {
    "new": "New entries",
    "log": "The whole log",
    "range": "A range of entries",
    "subject": "One subject",
}
BREAK_KINDS = {
    "edited": "Its bytes differ from the signed bytes.",
    "column_mismatch": "Its columns differ from the recorded bytes.",
    "deleted": "It is missing; later events exist.",
    "missing": "It is missing.",
    "truncated": "It is missing, and so is everything after it.",
    "inserted": "Inserted: it was never signed into the log.",
    "reordered": "Signed events or entries are swapped.",
    "forked": "The history was rewritten consistently; it differs from the signed one.",
    "opening_mismatch": "A private value differs from the one that the event committed to.",
    "artifact_edited": "A file that an event names was changed.",
    "artifact_missing": "A file that an event names is missing.",
}


@require_http_methods(["GET", "HEAD", "POST"])
@auditors_only
def verification(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """The page; what runs, alone, when it asks for itself; and a verification asked for."""
    issue = ""
    if request.method == "POST":
        try:
            jobs.request_verification(tenant, str(request.user.pk), **_read_form(request))
            wake_up("audit.tasks.verify")
            return redirect("audit:verification")
        except (Invalid, Conflict) as refused:
            issue = str(refused)
        except NotFound:
            issue = "This log has no such subject. Copy the id from an event."
    is_fragment = request.headers.get("HX-Request") == "true" and request.method == "GET"
    name = "audit/_verifications.html" if is_fragment else "audit/verification.html"
    return render(request, name, _context(request, tenant, issue), status=422 if issue else 200)


@require_safe
@auditors_only
def head(request: HttpRequest, tenant: UUID, number: int) -> HttpResponse:
    """One signed head as the note it is, to be kept elsewhere."""
    found = SignedTreeHead.objects.filter(tenant=tenant, number=number).first() if number < 2**63 else None
    if found is None:
        raise NotFound
    response = HttpResponse(found.note, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="head-{number}.txt"'
    return response


@require_POST
@auditors_only
def add_target(request: HttpRequest, tenant: UUID) -> HttpResponse:
    """Add a target for tree heads. For tenant admins."""
    tenant, who = tenant_to_administer(request)
    form = request.POST
    every_s = form.get("every_s", "").strip()
    try:
        if not (every_s.isascii() and every_s.isdecimal() and len(every_s) <= MAX_DIGITS):
            raise Invalid("Give the interval in seconds.")
        is_private = bool(form.get("allow_private")) and may_reach_private_networks(request)
        publish_heads.add_target(
            tenant, form.get("kind", ""), form.get("address", "")[:500], int(every_s), who, is_private
        )
    except (Invalid, Conflict) as refused:
        context = _context(request, tenant, "", target_issue=str(refused))
        return render(request, "audit/verification.html", context, status=422)
    return redirect("audit:verification")


@require_POST
@auditors_only
def remove_target(request: HttpRequest, tenant: UUID, target_id: int) -> HttpResponse:
    tenant, who = tenant_to_administer(request)
    publish_heads.remove_target(tenant, min(target_id, 2**63 - 1), who)
    return redirect("audit:verification")


def _read_form(request: HttpRequest) -> dict[str, Any]:
    """Read the form. Raises Invalid."""
    form = request.POST
    numbers = {name: form.get(name, "").strip() for name in ("first", "upto")}
    if any(n and not (n.isascii() and n.isdecimal() and len(n) <= MAX_DIGITS) for n in numbers.values()):
        raise Invalid("Entries are numbered 0, 1, 2 …. Give whole numbers.")
    depth, subject = form.get("depth", ""), form.get("subject", "").strip()
    try:
        subject_id = UUID(subject) if subject else None
    except ValueError:
        raise Invalid("A subject id looks like 01a1fc91-0000-7000-8000-000000000000.") from None
    return {
        "depth": depth,
        "subject_id": subject_id if depth == "subject" else None,
        "head": form.get("head", "").strip(),
        "first": int(numbers["first"] or 0),
        "upto": int(numbers["upto"]) if numbers["upto"] else None,
    }


def _context(request: HttpRequest, tenant: UUID, issue: str, target_issue: str = "") -> dict[str, Any]:
    found = list(Verification.objects.filter(tenant=tenant).order_by("-requested_at")[:JOBS_SHOWN])
    return {
        "here": "audit",
        "on": "verification",
        "issue": issue,
        "depths": DEPTHS,
        "form": request.POST,
        "integrity": integrity(tenant),
        "jobs": [_job_row(job) for job in found],
        "is_running": any(job.status != "done" for job in found),
        "heads": SignedTreeHead.objects.filter(tenant=tenant).order_by("-number")[:5],
        "may_administer": may_administer(request),
        "may_reach_private_networks": may_reach_private_networks(request),
        "target_issue": target_issue,
        "kinds": HeadTarget.Kind.choices,
        "keys": keys.public_keys(tenant),
        "targets": HeadTarget.objects.filter(tenant=tenant).order_by("pk")[:20],
    }


def _job_row(job: Verification) -> dict[str, Any]:
    span = max(job.total - job.first, 1)
    percent = min(max(job.position - job.first, 0), span) * 100 // span
    return {
        "it": job,
        "what": DEPTHS.get(job.depth, job.depth),
        "percent": 100 if job.status == "done" else percent,
        "kind": job.report.get("kind", ""),
        "words": BREAK_KINDS.get(job.report.get("kind", ""), ""),
    }


# The public verification page: a pack or a kept head, held against what was signed here. No sign-in; tells no
# secrets.


MAX_HEADS = 20
MAX_PER_ADDRESS, MAX_IN_ALL = 10, 120  # checks a minute: from one address, and from all
UNKNOWN_SIGNER = (
    "No key of this installation signed it. It comes from another installation, or it is not genuine. Ask whoever gave "
    "it to you where it was made."
)
BREAK_MESSAGES = {
    "edited": "Something in it was changed after signing.",
    "reordered": "Its events are not in the order in which they were recorded.",
    "missing": "A required part is missing.",
    "truncated": "It ends too early; a part is missing.",
    "forked": "The log was rewritten: it no longer continues this tree head.",
    "deleted": "The log was truncated: entries under this tree head are missing.",
    "artifact_edited": "A file in it differs from the recorded file.",
    "artifact_missing": "A recorded file is missing.",
    "bad_signature": "A signature is invalid.",
    "unknown_signer": UNKNOWN_SIGNER,
    "not_a_pack": "This file is not an evidence pack.",
    "not_canonical": "The file was changed or extended.",
    "opening_mismatch": "A text in it differs from the recorded text.",
}


@dataclass
class PublicResult:
    """The result, as text: `look` is ok, warn or bad."""

    look: str
    title: str
    words: str
    facts: list[tuple[str, str]] = field(default_factory=list)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def public_verification(request: HttpRequest) -> HttpResponse:
    """The form, and the results for what was sent."""
    if request.method != "POST":
        return render(request, "verify/page.html", {"limit": settings.DATA_UPLOAD_MAX_MEMORY_SIZE})
    context: dict[str, Any] = {"limit": settings.DATA_UPLOAD_MAX_MEMORY_SIZE}
    if not _is_within_limit(request.META.get("REMOTE_ADDR", "")):
        context["issue"] = "Too many checks at once. Wait a minute, or verify offline as the pack's README says."
        response = render(request, "verify/page.html", context, status=429)
        response["Retry-After"] = "60"
        return response
    text, file = request.POST.get("head", "").strip(), request.FILES.get("pack")
    if not text and file is None:
        context["issue"] = "Choose an evidence pack, or paste a signed tree head."
        return render(request, "verify/page.html", context, status=422)
    results = _check_heads(text) if text else []
    if file is not None:
        results.insert(0, _check_pack(file))
    return render(request, "verify/page.html", {**context, "results": results, "head": text[:20_000]})


def _check_pack(file: Any) -> PublicResult:
    """The verdict on a pack: first on its own, then with the keys of this installation that it says signed it."""
    try:
        found = verify_file(file)
        if trusted := _keys_of(found.signers):
            file.seek(0)
            found = verify_file(file, trusted)
    except Broken as broken:
        return _describe_break(broken)
    except CannotCheck as error:
        return PublicResult("warn", "This cannot be checked here", str(error))
    return _describe_pack(found)


def _describe_pack(found: Summary) -> PublicResult:
    facts = [("About", found.subject), ("Events", f"{found.seq}"), ("Files", f"{found.artifacts}")]
    facts += [("Signed by key", ", ".join(found.signers))]
    facts += (
        [("In the signed log", f"up to #{found.sealed}, tree head of {found.log_size} entries")] if found.sealed else []
    )
    facts += [("Withheld", f"{found.withheld} files, {found.closed} texts")] if found.withheld or found.closed else []
    if not found.is_trusted:
        return PublicResult("warn", "Intact, signed by an unknown key", UNKNOWN_SIGNER, facts)
    words = "A key of this installation signed it, and nothing in it was changed since: every event, text and file in "
    words += "it is what was recorded."
    return PublicResult("ok", "Genuine and intact", words, facts)


def _describe_break(broken: Broken) -> PublicResult:
    words = BREAK_MESSAGES.get(broken.kind, "It differs from the recorded data.")
    facts = [("Item", broken.item), ("Reason", broken.detail or broken.kind)]
    return PublicResult("bad", "Do not rely on this", words, facts)


def _check_heads(text: str) -> list[PublicResult]:
    try:
        found = read_external_heads(text)
    except (InvalidNote, Problem) as bad:
        words = f"{bad}." if isinstance(bad, InvalidNote) else "The keys of its log cannot be read at the moment."
        return [
            PublicResult(
                "bad", "Tree head not signed by this installation", f"It cannot be verified: {words} {UNKNOWN_SIGNER}"
            )
        ]
    return [_check_head(head) for head in found[:MAX_HEADS]]


def _check_head(external: ExternalHead) -> PublicResult:
    head = external.head
    facts = [("Entries", f"{head.size}"), ("Signed", head.extension("at")), ("Number", head.extension("number"))]
    broken = check_external_head(external.tenant, head)
    if broken is not None:
        words = BREAK_MESSAGES.get(broken.kind, "The log is not consistent with this tree head.")
        return PublicResult("bad", "The log was changed since", words, [*facts, ("Reason", broken.detail)])
    tree = seals.Tree.objects.filter(tenant=external.tenant).first()
    if tree is None or tree.broken or tree.halted:
        words = "It was signed here and the signed log continues it, but the last verification found that records of "
        words += "this log were changed. Ask for the result of that verification, and rely on packs made before it."
        return PublicResult("bad", "Records of this log were changed", words, facts)
    words = "It was signed here, and the signed log as it is now still begins with exactly the entries that it stands "
    words += "for. Whether each stored record still matches its entry, auditors verify"
    words += f"; last on {tree.verified_at:%Y-%m-%d %H:%M} UTC, and all did." if tree.verified_at else "."
    return PublicResult("ok", "Log consistent with this tree head", words, facts)


def _keys_of(signers: list[str]) -> list[Verifier]:
    """Keys of this installation with these ids, that were not revoked."""
    rows = seals.SigningKey.objects.filter(key_id__in=signers[:16], revoked_at=None)[:64]
    return [Verifier(origin_of(row.tenant), bytes(row.public)) for row in rows]


def _is_within_limit(address: str) -> bool:
    """Count this check; whether it may be made. In the database, so that all web processes count together."""
    minute = int(database_time().timestamp() // 60)
    with transaction.atomic():
        seals.PublicCheck.objects.filter(minute__lt=minute).delete()
        return all([_count_check("anywhere", minute) <= MAX_IN_ALL, _count_check(address, minute) <= MAX_PER_ADDRESS])


def _count_check(who: str, minute: int) -> int:
    key = hmac.new(settings.SECRET_KEY.encode(), f"public check {who}".encode(), hashlib.sha256).hexdigest()
    seals.PublicCheck.objects.get_or_create(pk=key, defaults={"minute": minute})
    row = seals.PublicCheck.objects.select_for_update().get(pk=key)
    row.count = row.count + 1 if row.minute == minute else 1
    row.minute = minute
    row.save()
    return row.count

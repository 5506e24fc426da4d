"""The public verification page: a pack or a kept head, held against what was signed here. No sign-in; tells no secrets.

Who asks has the pack or the signed head already; they learn whether it holds, and nothing about the log beyond it.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from audit.clock import database_time
from audit.errors import Problem
from audit.seals import models
from audit.seals.checking import against_log
from audit.seals.kept import KeptHead, read_kept
from audit.seals.keys import origin_of
from audit.seals.notes import BadNote, Verifier
from audit.verify import Broken, CannotCheck, Key, Summary, verify_file

MOST_HEADS = 20
MOST_HERE, MOST_ANYWHERE = 10, 120  # checks a minute: from one address, and from all
UNKNOWN = (
    "No key of this installation signed it. Either it comes from elsewhere, or it is not genuine: ask whoever gave it "
    "to you where it was made."
)
WORDS = {
    "edited": "Something in it was changed after it was signed.",
    "reordered": "Its events are not in the order in which they were recorded.",
    "missing": "Something that must be in it is not there.",
    "truncated": "It ends too early: a part is missing.",
    "forked": "The log here no longer continues this head: its past was rewritten since.",
    "deleted": "The log here has lost entries that this head stands for.",
    "artifact_edited": "A file in it is not the one that was recorded.",
    "artifact_missing": "A file that was recorded is not in it.",
    "bad_signature": "A signature on it does not hold.",
    "unknown_signer": UNKNOWN,
    "not_a_pack": "This file is not an evidence pack.",
    "not_canonical": "The file was written anew, or something was added to it.",
    "opening_mismatch": "A text in it is not the one that was recorded.",
}


@dataclass
class Result:
    """What came out, in words: `look` is ok, warn or bad."""

    look: str
    title: str
    words: str
    facts: list[tuple[str, str]] = field(default_factory=list)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def verify(request: HttpRequest) -> HttpResponse:
    """The form, and what came of what was sent."""
    if request.method != "POST":
        return render(request, "verify/page.html", {"limit": settings.DATA_UPLOAD_MAX_MEMORY_SIZE})
    context: dict[str, Any] = {"limit": settings.DATA_UPLOAD_MAX_MEMORY_SIZE}
    if not _may_ask(request.META.get("REMOTE_ADDR", "")):
        context["issue"] = "Too many checks at once. Wait a minute, or verify offline as the pack's README says."
        response = render(request, "verify/page.html", context, status=429)
        response["Retry-After"] = "60"
        return response
    text, file = request.POST.get("head", "").strip(), request.FILES.get("pack")
    if not text and file is None:
        context["issue"] = "Choose an evidence pack, or paste a head that you kept."
        return render(request, "verify/page.html", context, status=422)
    results = _heads(text) if text else []
    if file is not None:
        results.insert(0, _pack(file))
    return render(request, "verify/page.html", {**context, "results": results, "head": text[:20_000]})


def _pack(file: Any) -> Result:
    """The verdict on a pack: first on its own, then with the keys of this installation that it says signed it."""
    try:
        found = verify_file(file)
        if trusted := _keys_of(found.signers):
            file.seek(0)
            found = verify_file(file, trusted)
    except Broken as broken:
        return _refused(broken)
    except CannotCheck as error:
        return Result("warn", "This cannot be checked here", str(error))
    return _held(found)


def _held(found: Summary) -> Result:
    facts = [("About", found.subject), ("Events", f"{found.seq}"), ("Files", f"{found.artifacts}")]
    facts += [("Signed by key", ", ".join(found.signers))] if found.signers else []
    facts += [("Sealed", f"up to #{found.sealed}, in a head over {found.log_size} entries")] if found.sealed else []
    facts += [("Withheld", f"{found.withheld} files, {found.closed} texts")] if found.withheld or found.closed else []
    if not found.signers:
        words = "Nothing in it was changed, but packs of this kind are not signed: it does not show who made it."
        return Result("warn", "Intact, not authenticated", words, facts)
    if not found.is_trusted:
        return Result("warn", "Intact, signed by an unknown key", UNKNOWN, facts)
    words = "A key of this installation signed it, and nothing in it was changed since: every event, text and file in "
    words += "it is what was recorded."
    return Result("ok", "Genuine and intact", words, facts)


def _refused(broken: Broken) -> Result:
    words = WORDS.get(broken.kind, "It is not what was recorded.")
    facts = [("What", broken.item), ("How we know", broken.detail or broken.kind)]
    return Result("bad", "Do not rely on this", words, facts)


def _heads(text: str) -> list[Result]:
    try:
        found = read_kept(text)
    except (BadNote, Problem) as bad:
        words = f"{bad}." if isinstance(bad, BadNote) else "Its log's keys cannot be read just now."
        return [Result("bad", "This head was not signed here", f"It does not hold: {words} {UNKNOWN}")]
    return [_head(kept) for kept in found[:MOST_HEADS]]


def _head(kept: KeptHead) -> Result:
    head = kept.head
    facts = [("Entries", f"{head.size}"), ("Signed", head.said("at")), ("Number", head.said("number"))]
    broken = against_log(kept.tenant, head)
    if broken is not None:
        words = WORDS.get(broken.kind, "The log here is not the one that this head stands for.")
        return Result("bad", "The log was changed since", words, [*facts, ("How we know", broken.detail)])
    tree = models.Tree.objects.filter(tenant=kept.tenant).first()
    if tree is None or tree.broken or tree.halted:
        words = "It was signed here and the signed log continues it, but the last verification found that records of "
        words += "this log were changed. Ask for what was found, and rely on packs made before."
        return Result("bad", "Records of this log were changed", words, facts)
    words = "It was signed here, and the signed log as it is now still begins with exactly the entries that it stands "
    words += "for. Whether each stored record still matches its entry, auditors verify"
    words += f"; last on {tree.verified_at:%Y-%m-%d %H:%M} UTC, and all did." if tree.verified_at else "."
    return Result("ok", "The log still holds what this head stands for", words, facts)


def _keys_of(signers: list[str]) -> list[Key]:
    """Keys of this installation with these ids, that were not revoked."""
    rows = models.SigningKey.objects.filter(key_id__in=signers[:16], revoked_at=None)[:64]
    return [Key.read(Verifier(origin_of(row.tenant), bytes(row.public)).vkey) for row in rows]


def _may_ask(address: str) -> bool:
    """Count this check; whether it may be made. In the database, so that all web processes count together."""
    minute = int(database_time().timestamp() // 60)
    with transaction.atomic():
        models.PublicCheck.objects.filter(minute__lt=minute).delete()
        return all([_count("anywhere", minute) <= MOST_ANYWHERE, _count(address, minute) <= MOST_HERE])


def _count(who: str, minute: int) -> int:
    key = hmac.new(settings.SECRET_KEY.encode(), f"public check {who}".encode(), hashlib.sha256).hexdigest()
    models.PublicCheck.objects.get_or_create(pk=key, defaults={"minute": minute})
    row = models.PublicCheck.objects.select_for_update().get(pk=key)
    row.count = row.count + 1 if row.minute == minute else 1
    row.minute = minute
    row.save()
    return row.count

"""
What may be missing from the database because it is in an archive. What an archive covers is told by the log itself: the
sealed events `log.archived`, which are never pruned; a row that anybody could write would be no excuse.
"""

import json
from uuid import UUID

from audit.models import Event
from audit.seals.models import Leaf


def archived_upto(tenant: UUID) -> int:
    """Below which log index everything was archived, without a gap from the beginning. One query."""
    told = Event.objects.filter(tenant=tenant, verb="log.archived").order_by("id").values_list("body", flat=True)
    ranges = sorted((f["first"], f["upto"]) for f in (json.loads(bytes(body))["facts"] for body in told))
    upto = 0
    for first, end in ranges:
        upto = max(upto, end) if first <= upto else upto
    return upto


def are_archived(tenant: UUID, subject_id: UUID, first: int, last: int, upto: int | None = None) -> bool:
    """Whether these events of a subject, by seq, were all sealed and archived. `upto`: `archived_upto`, if known."""
    upto = archived_upto(tenant) if upto is None else upto
    sealed = Leaf.objects.filter(tenant=tenant, subject_id=subject_id, seq__range=(first, last), log_index__lt=upto)
    return upto > 0 and sealed.count() == last - first + 1

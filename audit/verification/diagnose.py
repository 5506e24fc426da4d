"""Find out what was done to an entry that does not fit, and name it. Used only once something is broken.

| kind | what was done |
|---|---|
| edited | an event, an entry or a head holds other bytes than were sealed |
| deleted | it is gone, and what came after it is there |
| truncated | it is gone, and so is everything after it |
| inserted | an event stands where the sealed one stood, or where none was |
| reordered | sealed events or entries stand in each other's places |
| forked | another history, whole in itself, stands where the sealed one stood |
"""

import hashlib
from collections.abc import Sequence
from uuid import UUID

from audit.models import Event
from audit.models.seals import Leaf, SignedTreeHead
from audit.verification.chain import event_name
from audit.verify import Broken, read_event
from audit.verify.merkle import Frontier, leaf_hash

MAX_NEARBY = 5_000


def missing_entry(tenant: UUID, index: int, signed: int) -> Broken:
    """The log has no entry of this index, though `signed` were signed."""
    later = Leaf.objects.filter(tenant=tenant, log_index__gt=index).exists()
    item = f"entry {index} of the log"
    if later:
        return Broken("deleted", item, "later entries exist")
    return Broken("truncated", item, f"the log ends before it; {signed} entries were signed")


def event_gone(leaf: Leaf) -> Broken:
    """The event that was sealed is no longer stored under its id."""
    chain = Event.objects.filter(tenant=leaf.tenant, subject_id=leaf.subject_id)
    there = chain.filter(seq=leaf.seq).exclude(pk=leaf.event_id).first()
    if there is not None:
        if _is_linked(there) and leaf_hash(bytes(there.body)) != bytes(leaf.hash):
            return Broken("forked", event_name(there), f"another event is where entry {leaf.log_index} was signed")
        return Broken("edited", event_name(there), f"its row is not the one that was signed as entry {leaf.log_index}")
    if chain.filter(seq__gt=leaf.seq).exists():
        return Broken("deleted", _leaf_event_name(leaf), f"it was signed as entry {leaf.log_index}; later events exist")
    return Broken(
        "truncated", _leaf_event_name(leaf), f"it was signed as entry {leaf.log_index}; its chain ends before it"
    )


def event_moved(leaf: Leaf, event: Event) -> Broken:
    """The event is stored in another place than was sealed."""
    if event.tenant != leaf.tenant:
        return Broken(
            "edited", event_name(event), f"it belonged to another tenant when it was signed as {_leaf_name(leaf)}"
        )
    there = Event.objects.filter(subject_id=leaf.subject_id, seq=leaf.seq).exclude(pk=event.pk).first()
    if there is not None and not Leaf.objects.filter(event_id=there.pk).exists():
        return Broken(
            "inserted", event_name(there), f"it was never signed; the event that was signed there is now #{event.seq}"
        )
    detail = f"what was sealed as #{leaf.seq}, {_leaf_name(leaf)}, is now #{event.seq} of {event.subject_id}"
    return Broken("reordered", _leaf_event_name(leaf), detail)


def event_changed(leaf: Leaf, event: Event, wanted: bytes) -> Broken:
    """The event is in its place, and its bytes are not those that were sealed."""
    found = leaf_hash(bytes(event.body))
    swapped = Leaf.objects.filter(tenant=leaf.tenant, hash=found).exclude(event_id=event.pk).first()
    if swapped is not None:
        return Broken("reordered", event_name(event), f"it has the bytes that were signed as entry {swapped.log_index}")
    after = Event.objects.filter(subject_id=event.subject_id, seq=event.seq + 1).first()
    if after is not None and _is_linked(event) and _is_linked(after) and _differs_from_leaf(after):
        return Broken("forked", event_name(event), f"from here on, the chain is not the signed one; {_leaf_name(leaf)}")
    return Broken("edited", event_name(event), f"its bytes are not those that were signed as entry {leaf.log_index}")


def wrong_entry(leaf: Leaf, event: Event | None, wanted: bytes) -> Broken:
    """The entry does not have the hash that the tree has in its place."""
    if event is not None and leaf_hash(bytes(event.body)) == bytes(leaf.hash):
        swapped = Leaf.objects.filter(tenant=leaf.tenant, hash=wanted).exclude(pk=leaf.pk).first()
        if swapped is not None:
            return Broken(
                "reordered", f"entry {leaf.log_index} of the log", f"it is in the place of entry {swapped.log_index}"
            )
        return event_changed(leaf, event, wanted)
    return Broken("edited", f"entry {leaf.log_index} of the log", "its hash is not the one that is in the tree")


def wrong_root(head: SignedTreeHead, root: bytes, leaves: Sequence[Leaf], base: Frontier) -> Broken:
    """These entries, all since the head before, each fit their event, and together they are not what was signed.

    `base` is the tree before them, `root` what the head says.
    """
    if not leaves:
        return Broken("edited", f"head #{head.number}", "its root is not that of the log")
    wrong = _first_out_of_order(root, leaves, base)
    if wrong is not None:
        return Broken("reordered", f"entry {wrong} of the log", "another entry is in its place")
    events = Event.objects.in_bulk([leaf.event_id for leaf in leaves])
    for leaf in leaves:
        event = events.get(leaf.event_id)
        after = Event.objects.filter(subject_id=leaf.subject_id, seq=leaf.seq + 1).first()
        if event is not None and after is not None and not _is_linked(after):
            return Broken("edited", event_name(event), f"its hash is not the one that #{after.seq} was chained to")
    first, last = leaves[0].log_index, leaves[-1].log_index
    where = f"entry {first}" if first == last else f"one of the entries {first} to {last}"
    return Broken(
        "forked", _leaf_event_name(leaves[0]), f"{where} is not what tree head #{head.number} was signed over"
    )


def _first_out_of_order(root: bytes, leaves: Sequence[Leaf], base: Frontier) -> int | None:
    """Entries of one pass are in the order of their events' ids: if that order gives the root, they were moved."""
    near = Leaf.objects.filter(tenant=leaves[0].tenant, log_index__gt=leaves[-1].log_index).order_by("log_index")
    stored = [*leaves, *near[:MAX_NEARBY]]
    ordered = sorted(stored, key=lambda leaf: leaf.event_id)
    tree = base.copy()
    tree.extend(bytes(leaf.hash) for leaf in ordered[: len(leaves)])
    if tree.root() != root:
        return None
    return next((a.log_index for a, b in zip(stored, ordered, strict=True) if a.pk != b.pk), None)


def never_sealed(event: Event) -> Broken:
    """The log was sealed beyond this event, and it is not in it."""
    twin = Event.objects.filter(subject_id=event.subject_id, seq=event.seq).exclude(pk=event.pk).exists()
    if twin:
        return Broken("forked", event_name(event), "two events have this place, and only one was signed")
    return Broken("inserted", event_name(event), "it was never signed, although later events were")


def _is_linked(event: Event) -> bool:
    """Whether the event has its own hash, and names that of the one that is before it."""
    if hashlib.sha256(bytes(event.body)).digest() != bytes(event.hash):
        return False
    before = Event.objects.filter(subject_id=event.subject_id, seq=event.seq - 1).values_list("hash", flat=True).first()
    try:
        said = read_event(bytes(event.body), "")
    except Broken:
        return False
    return bool(said["prev"] == (bytes(before).hex() if before else "") and said["seq"] == event.seq)


def _differs_from_leaf(event: Event) -> bool:
    sealed = Leaf.objects.filter(subject_id=event.subject_id, seq=event.seq).values_list("hash", flat=True).first()
    return sealed is not None and bytes(sealed) != leaf_hash(bytes(event.body))


def _leaf_event_name(leaf: Leaf) -> str:
    kind = Event.objects.filter(subject_id=leaf.subject_id).values_list("subject_kind", flat=True).first()
    return f"event #{leaf.seq} of {kind or 'subject'} {leaf.subject_id}"


def _leaf_name(leaf: Leaf) -> str:
    return f"entry {leaf.log_index}"

"""What somebody who owns the database can do to a sealed log. Each way says what must be found, and where."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from django.db import connection, transaction

from audit.database import guards
from audit.log.canonical_json import canonical
from audit.log.events import Subject, record
from audit.models import Event
from audit.models.seals import Leaf, SignedTreeHead, Tile, Tree
from audit.seals import keys
from audit.seals.sealer import seal_all
from audit.verify.merkle import Frontier, leaf_hash
from audit.verify.signatures import parse_note, parse_tree_head
from tests.audit.cast import TENANT, a_subject, an_entry


@dataclass
class Log:
    """Subjects of as many events each, sealed in several passes."""

    subjects: list[Subject]
    length: int

    def some(self, dice: random.Random, low: int = 1, high: int = 0) -> tuple[Subject, int]:
        """A place: a subject and a seq from `low` to the length and `high`."""
        return dice.choice(self.subjects), dice.randint(low, self.length + high)


def a_log(subjects: int = 3, length: int = 8, passes: int = 3) -> Log:
    log = Log([a_subject("deed") for _ in range(subjects)], length)
    for n in range(length):
        for subject in log.subjects:
            record(an_entry(subject, facts={"n": n}, private={"comment": f"words {n}"}))
        if n % max(length // passes, 1) == 0:
            seal_all()
    for _ in range(3):  # until the horizon has come up to the end
        seal_all()
    return log


@contextmanager
def harmed() -> Iterator[None]:
    """As a superuser: without triggers, and all of it undone at the end."""
    with transaction.atomic():
        guards.unprotect(connection)
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE audit_event DROP CONSTRAINT audit_event_one_per_seq")
        yield
        transaction.set_rollback(True)


def at(subject: Subject, seq: int) -> Event:
    return Event.objects.filter(subject_id=subject.id, seq=seq).order_by("id").get()


def write(event: Event, **changes: object) -> None:
    Event.objects.filter(pk=event.pk).update(**changes)


def other_body(event: Event, prev: str | None = None, seq: int | None = None) -> bytes:
    said = json.loads(bytes(event.body))
    said["facts"]["n"] = 1000 + said["facts"]["n"]
    return canonical({**said, "prev": said["prev"] if prev is None else prev, "seq": seq or said["seq"]})


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def edit(log: Log, dice: random.Random) -> tuple[str, str]:
    """One event gets other bytes; more or less of what must fit them is changed, too."""
    subject, seq = log.some(dice)
    event, how = at(subject, seq), dice.choice(("body", "hash", "entry", "verb"))
    body = other_body(event)
    if how == "verb":
        write(event, verb="other.verb")
        return "column_mismatch", _name(event)
    write(event, body=body, **({} if how == "body" else {"hash": digest(body)}))
    if how == "entry" and seq < log.length:
        Leaf.objects.filter(pk=event.pk).update(hash=leaf_hash(body))
    return "edited", _name(event)


def delete(log: Log, dice: random.Random) -> tuple[str, str]:
    subject, seq = log.some(dice, 1, -1)
    event = at(subject, seq)
    Event.objects.filter(pk=event.pk).delete()
    return "deleted", _name(event)


def delete_entry(log: Log, dice: random.Random) -> tuple[str, str]:
    index = dice.randrange(Leaf.objects.filter(tenant=TENANT).count() - 1)
    leaf = Leaf.objects.get(tenant=TENANT, log_index=index)
    leaf.delete()
    return "deleted", f"entry {index} of the log"


def insert(log: Log, dice: random.Random) -> tuple[str, str]:
    """An event in the middle; those after it move up. Or one under an old id, of a subject that never was."""
    subject, seq = log.some(dice)
    if dice.random() < 0.3:
        stranger = Subject("deed", a_subject().id)
        record(an_entry(stranger, "stood.there"))
        Event.objects.filter(subject_id=stranger.id).update(id=-dice.randrange(1, 999))
        return "inserted", f"event #1 of deed {stranger.id}"
    event = at(subject, seq)
    for later in Event.objects.filter(subject_id=subject.id, seq__gte=seq).order_by("-seq"):
        write(later, seq=later.seq + 1)
    body = other_body(event)
    values = {
        f.attname: getattr(event, f.attname) for f in Event._meta.fields if f.attname not in ("id", "body", "hash")
    }
    Event.objects.create(**values, body=body, hash=digest(body))
    return "inserted", _name(event)


def reorder(log: Log, dice: random.Random) -> tuple[str, str]:
    """Two events of a chain change places, whole or by their bytes; or two entries of the log do."""
    subject, seq = log.some(dice, 1, -1)
    first, second = at(subject, seq), at(subject, seq + 1)
    how = dice.choice(("seq", "bytes", "entries"))
    if how == "seq":
        write(first, seq=10_000)
        write(second, seq=seq)
        write(first, seq=seq + 1)
    elif how == "bytes":
        write(first, body=second.body, hash=second.hash)
        write(second, body=first.body, hash=first.hash)
    else:
        leaves = list(Leaf.objects.filter(tenant=TENANT).order_by("log_index"))
        a = dice.randrange(len(leaves) - 1)
        for pk, index in ((leaves[a].pk, 10_000), (leaves[a + 1].pk, a), (leaves[a].pk, a + 1)):
            Leaf.objects.filter(pk=pk).update(log_index=index)
        return "reordered", f"entry {a} of the log"
    return "reordered", _name(first)


def truncate(log: Log, dice: random.Random) -> tuple[str, str]:
    """The end of a chain is cut off; or the end of the log, with or without its entries."""
    subject, seq = log.some(dice)
    event = at(subject, seq)
    if dice.random() < 0.3:
        index = Leaf.objects.get(event_id=event.pk).log_index
        Leaf.objects.filter(tenant=TENANT, log_index__gte=index).delete()
        return "truncated", f"entry {index} of the log"
    Event.objects.filter(subject_id=subject.id, seq__gte=seq).delete()
    name = _name(event) if seq > 1 else f"event #1 of subject {subject.id}"  # nothing is left to tell its kind
    return "truncated", name


def fork(log: Log, dice: random.Random) -> tuple[str, str]:
    """From one event on, the chain is told anew: in the same rows, in new ones, or beside the old ones."""
    subject, seq = log.some(dice, 1, -1)
    first, how = at(subject, seq), dice.choice(("same rows", "new rows"))
    rewrite(subject, seq, in_new_rows=how == "new rows")
    return "forked", _name(first)


def rewrite(subject: Subject, seq: int, in_new_rows: bool = False) -> None:
    before = Event.objects.filter(subject_id=subject.id, seq=seq - 1).first()
    prev = bytes(before.hash).hex() if before else ""
    for event in Event.objects.filter(subject_id=subject.id, seq__gte=seq).order_by("seq"):
        body = other_body(event, prev)
        if in_new_rows:
            Event.objects.filter(pk=event.pk).delete()
            event.pk = None
        event.body, event.hash = body, digest(body)
        event.save()
        prev = digest(body).hex()


WAYS: dict[str, Callable[[Log, random.Random], tuple[str, str]]] = {
    "edit": edit,
    "delete": delete,
    "delete_entry": delete_entry,
    "insert": insert,
    "reorder": reorder,
    "truncate": truncate,
    "fork": fork,
}


def cut_back(number: int) -> None:
    """Forget everything that was sealed after head `number`, events too: whole in itself, as it was then."""
    head = SignedTreeHead.objects.get(tenant=TENANT, number=number)
    lost = Leaf.objects.filter(tenant=TENANT, log_index__gte=head.size)
    Event.objects.filter(pk__in=list(lost.values_list("pk", flat=True))).delete()
    lost.delete()
    Tile.objects.filter(tenant=TENANT).delete()
    SignedTreeHead.objects.filter(tenant=TENANT, number__gt=number).delete()
    tree = Frontier()
    tree.extend(
        bytes(h) for h in Leaf.objects.filter(tenant=TENANT).order_by("log_index").values_list("hash", flat=True)
    )
    Tree.objects.filter(tenant=TENANT).update(
        size=tree.size, frontier=tree.packed(), number=number, sealed_at=head.at, halted="", resume_from=None
    )


def sign_anew(root: bytes, head: SignedTreeHead) -> str:
    """A head as the tenant's own key would sign it: who has the installation's key can."""
    key = keys.signing_key(TENANT)
    signed = parse_tree_head(parse_note(head.note).text)
    return key.sign_note(replace(signed, root=root).text())


def _name(event: Event) -> str:
    return f"event #{event.seq} of {event.subject_kind} {event.subject_id}"

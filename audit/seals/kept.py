"""Heads that somebody kept elsewhere and brings back: signed notes, one or many in a text."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from audit.seals import keys
from audit.seals.notes import BadNote, Checkpoint, read_checkpoint, read_note

MOST = 1_000
ORIGIN = "interlock/"


@dataclass(frozen=True)
class KeptHead:
    """A head whose signature is that of a key of the tenant's. `where` says where it was read."""

    tenant: UUID
    head: Checkpoint
    where: str


def read_kept(text: str, where: str = "this") -> list[KeptHead]:
    """The heads in a text, their signatures verified with the keys that are stored here. Raises BadNote, in words.

    A query per tenant. Raises MissingKey, Undecryptable, too.
    """
    found: list[KeptHead] = []
    known: dict[UUID, list[keys.PublicKey]] = {}
    for note in split_notes(text):
        tenant = tenant_of(read_checkpoint(read_note(note).text))
        if tenant not in known:
            known[tenant] = keys.verifiers(tenant)
        found.append(KeptHead(tenant, keys.check_head(note, known[tenant]), where))
        if len(found) > MOST:
            raise BadNote(f"it holds more than {MOST} heads")
    if not found:
        raise BadNote("it is empty")
    return found


def tenant_of(head: Checkpoint) -> UUID:
    """Whose log it is. Raises BadNote for other origins."""
    try:
        if not head.origin.startswith(ORIGIN):
            raise ValueError
        return UUID(head.origin.removeprefix(ORIGIN))
    except ValueError:
        raise BadNote(f"it is a head of {head.origin[:80]!r}, which is no log of Interlock's") from None


def split_notes(text: str) -> Iterator[str]:
    """Notes that stand one after another: each ends with its signature lines. Line ends are forgiven."""
    lines: list[str] = []
    is_signed = False
    for line in text.replace("\r\n", "\n").strip("\n").split("\n"):
        is_signature = line.startswith("— ")
        if is_signed and not is_signature:
            yield "\n".join(lines) + "\n"
            lines = []
        if lines or line.strip():
            lines.append(line)
        is_signed = is_signature
    if lines:
        yield "\n".join(lines) + "\n"

"""What floors above add to the evidence about their subjects. This floor knows neither them nor their models."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from audit.events import Subject


@dataclass(frozen=True)
class Contribution:
    """`files`: (name, content, kind) below `context/`; the kind is what a redaction calls it. `facts`: (label, text)
    under the report's title. Neither may hold secrets, or anything that the reader of a full pack may not see."""

    files: tuple[tuple[str, bytes, str], ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default=())


Contributor = Callable[[UUID, Subject], Contribution]
_contributors: dict[str, list[Contributor]] = {}


def register_contributor(kind: str, fn: Contributor) -> None:
    """Let `fn(tenant, subject)` add to packs about subjects of this kind. It must give the same bytes every time."""
    if fn not in _contributors.setdefault(kind, []):
        _contributors[kind].append(fn)


def contributions(tenant: UUID, subject: Subject) -> Iterable[Contribution]:
    """What is registered for this kind of subject, in the order of registration."""
    return [fn(tenant, subject) for fn in _contributors.get(subject.kind, [])]

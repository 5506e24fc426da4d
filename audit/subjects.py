"""Names for ids: the log keeps ids, people read titles. The floors above say what theirs are called."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from uuid import UUID

from audit.errors import NotFound
from audit.events import Subject
from audit.models import Event

Describer = Callable[[UUID, set[UUID]], dict[UUID, Subject]]
Namer = Callable[[UUID, set[UUID]], dict[UUID, str]]
_describers: dict[str, Describer] = {}
_namers: list[Namer] = []


def register_describer(kind: str, fn: Describer) -> None:
    """Let `fn(tenant, ids)` give the subjects of this kind, with title and URL, as far as it knows them. One query."""
    _describers[kind] = fn


def register_names(fn: Namer) -> None:
    """Let `fn(tenant, ids)` give the names of principals who act in the tenant, as far as it knows them. One query."""
    if fn not in _namers:
        _namers.append(fn)


def describe(tenant: UUID, events: Iterable[Event]) -> dict[UUID, Subject]:
    """The subjects of these events, of one tenant, by id; without a title where nobody knows one. A query per kind."""
    found: dict[UUID, Subject] = {}
    kinds: dict[str, set[UUID]] = defaultdict(set)
    for event in events:
        kinds[event.subject_kind].add(event.subject_id)
        found[event.subject_id] = Subject(event.subject_kind, event.subject_id)
    for kind, ids in kinds.items():
        if kind in _describers:
            found.update(_describers[kind](tenant, ids))
    return found


def described(tenant: UUID, kind: str, subject_id: UUID) -> Subject:
    """One subject with title and URL, as far as its floor knows them. One query at most."""
    known = _describers[kind](tenant, {subject_id}) if kind in _describers else {}
    return known.get(subject_id, Subject(kind, subject_id))


def subject_of(tenant: UUID, subject_id: UUID) -> Subject:
    """The subject that the tenant's log knows by this id. Raises NotFound for unknown and foreign ones alike."""
    first = Event.objects.filter(tenant=tenant, subject_id=subject_id).order_by("seq").first()
    if first is None:
        raise NotFound
    return describe(tenant, [first])[subject_id]


def names_of(tenant: UUID, events: Iterable[Event]) -> dict[str, str]:
    """The names of the actors of these events: {actor: name}. A system role is its own name."""
    names: dict[str, str] = {}
    ids: set[UUID] = set()
    for event in events:
        names[event.actor] = event.actor.removeprefix("system:")
        try:
            ids.add(UUID(event.actor))
        except ValueError:
            continue
    for namer in _namers:
        names.update({str(pk): name for pk, name in namer(tenant, ids).items()} if ids else {})
    return names

"""Names for ids: the log keeps ids, people read titles. Floors above register the names of theirs."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from uuid import UUID

from audit.errors import NotFound
from audit.log.events import Subject
from audit.models import Event

Describer = Callable[[UUID, set[UUID]], dict[UUID, Subject]]
Namer = Callable[[UUID, set[UUID]], dict[UUID, str]]
_describers: dict[str, Describer] = {}
EnvironmentNamer = Callable[[UUID], dict[UUID, str]]
_actor_namers: list[Namer] = []
_environment_namers: list[EnvironmentNamer] = []
_owner_lookups: list[Namer] = []


def register_describer(kind: str, fn: Describer) -> None:
    """Let `fn(tenant, ids)` give the subjects of this kind, with title and URL, as far as it knows them. One query."""
    _describers[kind] = fn


def register_actor_names(fn: Namer) -> None:
    """Let `fn(tenant, ids)` give the names of principals who act in the tenant, as far as it knows them. One query."""
    if fn not in _actor_namers:
        _actor_namers.append(fn)


def register_environments(fn: EnvironmentNamer) -> None:
    """Let `fn(tenant)` give the names of the tenant's environments, by id. One query."""
    if fn not in _environment_namers:
        _environment_namers.append(fn)


def environment_names(tenant: UUID) -> dict[UUID, str]:
    """The tenant's environments by id, in the order of their names. One query."""
    found: dict[UUID, str] = {}
    for places in _environment_namers:
        found.update(places(tenant))
    return dict(sorted(found.items(), key=lambda place: place[1]))


def register_agent_owners(fn: Namer) -> None:
    """Let `fn(tenant, ids)` give, for those that are agents, the id of the person who answers for each. One query."""
    if fn not in _owner_lookups:
        _owner_lookups.append(fn)


def agent_owners(tenant: UUID, actors: Iterable[str]) -> dict[str, str]:
    """Who answers for these actors, where they are agents: {actor: the owner's id}. One query."""
    ids = {pk for actor in actors if (pk := _parse_id(actor))}
    found: dict[str, str] = {}
    for owners in _owner_lookups:
        found.update({str(pk): owner for pk, owner in owners(tenant, ids).items()} if ids else {})
    return found


def describe_subjects(tenant: UUID, events: Iterable[Event]) -> dict[UUID, Subject]:
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


def describe_subject(tenant: UUID, kind: str, subject_id: UUID) -> Subject:
    """One subject with title and URL, as far as its floor knows them. One query at most."""
    known = _describers[kind](tenant, {subject_id}) if kind in _describers else {}
    return known.get(subject_id, Subject(kind, subject_id))


def find_subject(tenant: UUID, subject_id: UUID) -> Subject:
    """The subject that the tenant's log knows by this id. Raises NotFound for unknown and foreign ones alike."""
    first = Event.objects.filter(tenant=tenant, subject_id=subject_id).order_by("seq").first()
    if first is None:
        raise NotFound
    return describe_subjects(tenant, [first])[subject_id]


def names_of_event_actors(tenant: UUID, events: Iterable[Event]) -> dict[str, str]:
    """The names of the actors of these events: {actor: name}. A system role is its own name."""
    return actor_names(tenant, {event.actor for event in events})


def actor_names(tenant: UUID, actors: Iterable[str]) -> dict[str, str]:
    """Names for actors: {actor: name}. A system role is its own name."""
    names = {actor: actor.removeprefix("system:") for actor in actors}
    ids = {pk for actor in names if (pk := _parse_id(actor))}
    for namer in _actor_namers:
        names.update({str(pk): name for pk, name in namer(tenant, ids).items()} if ids else {})
    return names


def _parse_id(actor: str) -> UUID | None:
    try:
        return UUID(actor)
    except ValueError:
        return None

"""What the audit tests share: a tenant, subjects and entries, all made up on the spot."""

from typing import Any
from uuid import UUID

from audit.database.clock import uuid7
from audit.log.events import NewEvent, Subject

TENANT = UUID("01900000-0000-7000-8000-00000000acce")


def a_subject(kind: str = "thing") -> Subject:
    return Subject(kind, uuid7(), title="A thing", url="/things/1/")


def an_entry(subject: Subject, verb: str = "thing.changed", **rest: Any) -> NewEvent:
    return NewEvent(tenant=rest.pop("tenant", TENANT), subject=subject, verb=verb, actor="system:setup", **rest)

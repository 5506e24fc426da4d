"""Identifiers of domain objects: UUIDv7, so that ids made later sort later and an index grows at one end."""

from uuid import UUID

from uuid_utils import compat


def uuid7() -> UUID:
    """A new id (RFC 9562, version 7); within one process ids strictly increase."""
    return compat.uuid7()

"""The database's clock, and identifiers that sort by time (UUIDv7)."""

from datetime import UTC, datetime
from uuid import UUID

from django.db import connection
from uuid_utils import compat


def database_time() -> datetime:
    """Now, aware UTC, read from the database. SQLite lives in this process and has this machine's clock."""
    if connection.vendor == "sqlite":
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0].astimezone(UTC)


# Identifiers of domain objects: UUIDv7, so that ids made later sort later and an index grows at one end.


def uuid7() -> UUID:
    """A new id (RFC 9562, version 7); within one process ids strictly increase."""
    return compat.uuid7()

"""The database's clock: the one that leases, expiry and events go by."""

from datetime import UTC, datetime

from django.db import connection


def database_time() -> datetime:
    """Now, aware UTC, read from the database. SQLite lives in this process and has this machine's clock."""
    if connection.vendor == "sqlite":
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0].astimezone(UTC)

"""Another, empty database beside the test's own, and this process's connection moved to it for a while."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from config.services.service_urls import database_settings, url_of


@contextmanager
def another_database(directory: Path) -> Iterator[str]:
    """The DATABASE_URL of a new, empty database of the same kind, dropped at the end."""
    name = f"elsewhere_{secrets.token_hex(4)}"
    if connection.vendor == "sqlite":
        yield f"sqlite:///{directory / name}.sqlite3"
        return
    here = url_of(connection.settings_dict)
    with psycopg.connect(here, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    try:
        yield here.replace(f"/{connection.settings_dict['NAME']}?", f"/{name}?")
    finally:
        with psycopg.connect(here, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def connected_to(url: str) -> Iterator[None]:
    """Let this process's own connection lead there."""
    known = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update({"NAME": database_settings(url, Path())["NAME"]})
    ContentType.objects.clear_cache()
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(known)
        ContentType.objects.clear_cache()

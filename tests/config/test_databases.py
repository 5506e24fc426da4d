"""DATABASE_URL and what becomes of it; the pragmas hold on a real connection."""

from pathlib import Path

import pytest
from django.db import connection

from config.services.service_urls import database_settings, url_of

pytestmark = pytest.mark.dialect

VAR = Path("/srv/var")


def test_without_a_url_the_database_is_a_file_in_var() -> None:
    assert database_settings("", VAR)["NAME"] == "/srv/var/interlock.sqlite3"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_every_part_of_a_postgresql_url_arrives(scheme: str) -> None:
    found = database_settings(f"{scheme}://us%40er:p%2Fw@db.example:6543/inter%20lock?sslmode=require", VAR)
    assert (found["USER"], found["PASSWORD"]) == ("us@er", "p/w")
    assert (found["HOST"], found["PORT"], found["NAME"]) == ("db.example", "6543", "inter lock")
    assert found["OPTIONS"] == {"application_name": "interlock", "sslmode": "require", "prepare_threshold": 1}


def test_a_socket_directory_is_given_as_host_parameter() -> None:
    found = database_settings("postgresql://me@/interlock?host=/run/postgresql&port=5433", VAR)
    assert (found["HOST"], found["PORT"], found["USER"]) == ("/run/postgresql", "5433", "me")


@pytest.mark.parametrize(
    "url", ["sqlite:///relative", "sqlite://", "sqlite:///", "sqlite://host/x", "mysql://x/y", "postgresql://host", "x"]
)
def test_a_url_that_names_no_usable_database_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        database_settings(url, VAR)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////srv/my%20data/db.sqlite3",
        "postgresql://u%40x:p%2Fw@h:1/d?sslmode=require",
        "postgresql://u@/d?host=/run",
    ],
)
def test_settings_turn_back_into_a_url_that_means_the_same(url: str) -> None:
    settings = database_settings(url, VAR)
    assert database_settings(url_of(settings), VAR) == settings


@pytest.mark.sqlite
def test_sqlite_is_durable_and_waits_its_turn(db: None) -> None:
    with connection.cursor() as cursor:
        found = {
            name: cursor.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "recursive_triggers": 1,
        "busy_timeout": 20_000,
    }

"""Set-ups that would hurt are found before they do, with a hint."""

from pathlib import Path

import pytest
from django.core import checks
from pytest_django import Settings

from config.env import Environment
from config.run.checks import (
    cookies_travel_safely,
    debug_is_private,
    demo_passwords_stay_private,
    keys_are_private,
    redis_answers,
    sqlite_stays_on_one_host,
)
from tests.cast import Cast

pytestmark = pytest.mark.dialect


def set_up(settings: Settings, **knobs: object) -> None:
    settings.INTERLOCK = settings.INTERLOCK.model_copy(update=knobs)


def test_debug_pages_must_not_be_reachable_from_outside(settings: Settings) -> None:
    settings.DEBUG = True
    assert debug_is_private(None) == []
    set_up(settings, bind="0.0.0.0")
    (found,) = debug_is_private(None)
    assert found.level == checks.CRITICAL
    assert "INTERLOCK_DEBUG" in str(found.hint)


def test_unencrypted_sessions_from_outside_are_warned_about(settings: Settings) -> None:
    assert cookies_travel_safely(None) == []
    set_up(settings, bind="10.0.0.1")
    assert "INTERLOCK_HTTPS" in str(cookies_travel_safely(None)[0].hint)
    set_up(settings, https=True)
    assert cookies_travel_safely(None) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [("", 0), ("unix:///run/redis.sock", 0), ("redis://localhost/0", 0), ("redis://redis.example/0", 1)],
)
def test_sqlite_with_a_redis_elsewhere_means_several_hosts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str, expected: int
) -> None:
    set_up(settings, redis_url=url)
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    assert len(sqlite_stays_on_one_host(None)) == expected
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    assert sqlite_stays_on_one_host(None) == []


def test_a_silent_redis_is_an_error_with_a_hint(settings: Settings) -> None:
    assert redis_answers(None) == []
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    assert "REDIS_URL" in str(redis_answers(None)[0].hint)


def test_published_passwords_must_not_be_reachable_from_outside(settings: Settings, cast: Cast) -> None:
    set_up(settings, bind="0.0.0.0")
    assert demo_passwords_stay_private(None, databases=["default"]) == []
    cast.operator.set_password("operator-demo")
    cast.operator.save()
    (found,) = demo_passwords_stay_private(None, databases=["default"])
    assert "operator" in found.msg
    set_up(settings, bind="127.0.0.1")
    assert demo_passwords_stay_private(None, databases=["default"]) == []


def test_keys_that_others_can_read_are_an_error(settings: Settings, tmp_path: Path) -> None:
    set_up(settings, var=tmp_path)
    assert keys_are_private(None) == []
    (tmp_path / "secrets.json").touch(mode=0o644)
    assert "chmod 600" in str(keys_are_private(None)[0].hint)


def test_the_broker_is_redis_unless_named() -> None:
    assert Environment(REDIS_URL="unix:///run/redis.sock").broker == "redis+socket:///run/redis.sock"
    assert Environment(REDIS_URL="redis://h/1").broker == "redis://h/1"
    assert Environment(REDIS_URL="redis://h/1", CELERY_BROKER_URL="amqp://h//").broker == "amqp://h//"

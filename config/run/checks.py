"""System checks: unsafe or broken settings, and what to do about them."""

import os
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Critical, Error, Tags, Warning, register
from django.db import DatabaseError, connection

from audit.database.guards import find_excess_rights
from config.env import is_loopback

DEMO_ACCOUNTS = ("operator", "approver", "approver2", "security", "auditor", "admin", "outsider", "agent")


@register(Tags.security)
def debug_is_private(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if settings.DEBUG and not is_loopback(settings.INTERLOCK.bind):
        hint = "Unset INTERLOCK_DEBUG, or bind to 127.0.0.1."
        message = f"Debug pages would show settings and code to everyone who reaches {settings.INTERLOCK.bind}."
        return [Critical(message, hint=hint, id="interlock.E001")]
    return []


@register(Tags.security)
def cookies_travel_safely(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if not is_loopback(settings.INTERLOCK.bind) and not settings.INTERLOCK.https:
        hint = "Put a TLS proxy in front that sets X-Forwarded-Proto, and set INTERLOCK_HTTPS=true."
        return [Warning("Sessions and tokens would be sent unencrypted.", hint=hint, id="interlock.W002")]
    return []


@register(Tags.database)
def sqlite_stays_on_one_host(app_configs: Any, **_: Any) -> list[CheckMessage]:
    is_sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    redis_url = settings.INTERLOCK.redis_url
    is_remote = (
        bool(redis_url)
        and not redis_url.startswith("unix:")
        and not any(name in redis_url for name in ("127.0.0.1", "localhost", "[::1]"))
    )
    if is_sqlite and is_remote:
        hint = "Set DATABASE_URL=postgresql://… for several hosts; keep SQLite for one."
        message = (
            "SQLite is a file on one host, but REDIS_URL names another host: workers there would use another database."
        )
        return [Error(message, hint=hint, id="interlock.E003")]
    return []


@register(Tags.database, deploy=True)
def redis_answers(app_configs: Any, **_: Any) -> list[CheckMessage]:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        hint = "Start it, or set REDIS_URL; `make run` without REDIS_URL starts its own."
        return [Error(f"Redis does not answer ({type(error).__name__}).", hint=hint, id="interlock.E004")]
    finally:
        client.close()
    return []


@register(Tags.database)
def demo_passwords_stay_private(app_configs: Any, databases: Any = None, **_: Any) -> list[CheckMessage]:
    """Queries the database, so it runs only for one: `manage.py check --database default`, `make run`, migrate."""
    if not databases or is_loopback(settings.INTERLOCK.bind):
        return []
    accounts = demo_accounts_open()
    if not accounts:
        return []
    hint = "Change these passwords or deactivate the accounts; or bind to 127.0.0.1."
    message = f"Accounts with published demo passwords would be reachable from outside: {', '.join(accounts)}."
    return [Critical(message, hint=hint, id="interlock.E005")]


def demo_accounts_open() -> list[str]:
    """Active accounts that still have the demo password; none before the table exists."""
    try:
        users = list(get_user_model().objects.filter(username__in=DEMO_ACCOUNTS, is_active=True))
    except DatabaseError:
        return []
    return [user.get_username() for user in users if user.check_password(f"{user.get_username()}-demo")]


@register(Tags.database, deploy=True)
def log_is_append_only(app_configs: Any, **_: Any) -> list[CheckMessage]:
    if connection.vendor != "postgresql":
        return []
    try:
        rights = find_excess_rights()
    except DatabaseError as error:
        return [Error(f"The database does not answer ({type(error).__name__}).", id="interlock.E008")]
    if not rights:
        return []
    hint = "Sign in as a role of `manage.py create_app_role`; keep the owner's for migrations and pruning."
    message = f"The role in DATABASE_URL could rewrite the audit log: {'; '.join(rights)}."
    return [Warning(message, hint=hint, id="interlock.W007")]


@register(Tags.files)
def keys_are_private(app_configs: Any, **_: Any) -> list[CheckMessage]:
    path = settings.INTERLOCK.secrets_file
    if path.exists() and os.name == "posix" and path.stat().st_mode & 0o077:
        hint = f"chmod 600 {path}"
        return [
            Error(
                f"Other users can read {path}, which holds the keys of this installation.",
                hint=hint,
                id="interlock.E006",
            )
        ]
    return []

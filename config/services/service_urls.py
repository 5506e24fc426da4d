"""The URLs of services as Django's settings: DATABASE_URL (and back), and where mail goes.

Mail: smtp://user:password@host:587?tls=starttls, smtps://host:465, or files below `var` by default.
"""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

SQLITE_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA recursive_triggers=ON;"
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",  # a transaction that reads first and writes later would fail instead of waiting
    "timeout": 20,
    "init_command": SQLITE_PRAGMAS,
}


def database_settings(url: str, var: Path) -> dict[str, Any]:
    """Django's settings for `url`: `postgresql://user:password@host:port/name?host=/run/dir&sslmode=…` or
    `sqlite:////absolute/path`; without a URL, a SQLite file in `var`. Raises ValueError in words for the operator.
    """
    if not url:
        return _sqlite(str(var / "interlock.sqlite3"))
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        if not parts.path.startswith("//") or parts.netloc:
            raise ValueError("give a file: sqlite:////absolute/path.sqlite3 (four slashes)")
        return _sqlite(unquote(parts.path[1:]))
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError(
            f"starts with {parts.scheme or 'nothing'}://, but Interlock speaks postgresql:// and sqlite:///"
        )
    options = dict(parse_qsl(parts.query))
    if not parts.path.strip("/"):
        raise ValueError("names no database: postgresql://user:password@host/DATABASE")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", "") or unquote(parts.hostname or ""),
        "PORT": str(options.pop("port", "") or parts.port or ""),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"application_name": "interlock", "prepare_threshold": 1, **options},
        "TEST": {},
    }


def url_of(settings: dict[str, Any]) -> str:
    """The DATABASE_URL that `database_settings` would turn into `settings`."""
    if settings["ENGINE"].endswith("sqlite3"):
        return f"sqlite:///{quote(str(settings['NAME']))}"
    who = ":".join(quote(settings[k], safe="") for k in ("USER", "PASSWORD") if settings[k])
    query = {**settings["OPTIONS"], **{k.lower(): settings[k] for k in ("HOST", "PORT") if settings[k]}}
    known = {k: v for k, v in query.items() if isinstance(v, str)}
    return f"postgresql://{who}@/{quote(settings['NAME'], safe='')}?{urlencode(known)}"


def _sqlite(name: str) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": dict(SQLITE_OPTIONS), "TEST": {}}


PORTS = {"smtp": 25, "smtps": 465}


def mail_settings(url: str, var: Path) -> dict[str, Any]:
    """Django's EMAIL_* settings for a mail URL. Raises ValueError with what is wrong."""
    if not url:
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "EMAIL_FILE_PATH": str(var / "mail"),
        }
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("must look like smtp://user:password@host:587?tls=starttls or smtps://host:465")
    tls = parse_qs(parts.query).get("tls", [""])[0]
    if tls not in ("", "starttls"):
        raise ValueError("knows tls=starttls; for TLS from the first byte write smtps://")
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or PORTS[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": tls == "starttls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": 10,
    }

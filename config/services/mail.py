"""Where mail goes: smtp://user:password@host:587?tls=starttls, smtps://host:465, or files below `var` by default."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

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

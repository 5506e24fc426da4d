"""The services that a tenant's rules name: Apprise addresses carry credentials, so they are kept encrypted."""

import json
from urllib.parse import urlsplit

from approvals.models import NotificationRule
from tenants.vault import decrypt, encrypt

HTTP = (
    "json xml form mmost ntfy rocket gotify matrix",
    "slack discord msteams workflows gchat tgram pagerduty opsgenie",
)
SCHEMES = frozenset([*HTTP[0].split(), *(f"{name}s" for name in HTTP[0].split()), *HTTP[1].split(), "webexteams"])
"""All of them speak HTTP, so that where they connect to can be judged."""
MAX_URLS = 10


def url_fault(url: str) -> str:
    """Why this address cannot be used, in words; empty when it can. Pure."""
    scheme = urlsplit(url).scheme if url.isprintable() and " " not in url else ""
    if scheme not in SCHEMES:
        return f"Write an Apprise address that begins with one of: {', '.join(sorted(SCHEMES))} (then ://)."
    return ""


def encrypt_urls(rule: NotificationRule, urls: list[str]) -> None:
    """Put the addresses into the rule, encrypted for this rule alone; the caller saves it."""
    rule.urls = encrypt(rule.tenant_id, json.dumps(urls).encode(), _context(rule)) if urls else None


def decrypt_urls(rule: NotificationRule) -> list[str]:
    """The addresses in the clear. Raises what `tenants.vault.decrypt` raises."""
    if not rule.urls:
        return []
    found: list[str] = json.loads(decrypt(rule.tenant_id, bytes(rule.urls), _context(rule)))
    return found


def _context(rule: NotificationRule) -> str:
    return f"notify rule {rule.pk}"

"""API tokens: `ilk_` + prefix + `_` + a 256-bit secret, shown once.

Stored as SHA-256: a random secret needs no stretching.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from audit.database.clock import database_time
from audit.errors import Forbidden, Invalid, NotFound
from audit.log.events import NewEvent, record
from tenants.access import Access, delegation_chain, holds, tenants_of
from tenants.audit_hooks.events import By, actor_of, principal_subject
from tenants.models import PERMISSIONS, ApiToken, Principal, Tenant
from tenants.roles import announce_role_change

SHAPE = re.compile(r"ilk_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
MAX_LIFETIME = timedelta(days=366)
USE_RECORDED_EVERY = timedelta(minutes=1)
NO_HASH = "0" * 64


class NotYourToken(Forbidden):
    """Only the principal of the token, its owner or a tenant admin may do this."""

    code = "not_your_token"


def issue_token(
    principal: Principal, tenant: Tenant, name: str, scopes: Iterable[str], expires_at: datetime, by: By
) -> tuple[ApiToken, str]:
    """Create a token; return it and the plain text, which is not stored. Event `token.issued` on the principal.

    `by` is the principal itself, its owner, or the system. Raises NotYourToken; Invalid with all issues.
    """
    wanted = sorted(set(scopes))
    _check_new_token(principal, tenant, name, wanted, expires_at)
    if isinstance(by, Principal) and not (by.is_person() and by.pk in delegation_chain(principal)):
        raise NotYourToken
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    plain = f"ilk_{prefix}_{secret}"
    with transaction.atomic():
        token = ApiToken.objects.create(
            tenant=tenant,
            principal=principal,
            name=name.strip(),
            prefix=prefix,
            hash=_hash(plain),
            scopes=wanted,
            expires_at=expires_at,
        )
        facts = {**_token_facts(token), "scopes": wanted, "expires_at": expires_at.isoformat()}
        subject = principal_subject(principal)
        record(NewEvent(tenant.pk, subject, "token.issued", actor_of(by), facts=facts, private={"name": token.name}))
    return token, plain


def authenticate(raw: str) -> ApiToken | None:
    """The valid token of this text, with its tenant, principal and owner loaded; None for any invalid one.

    Constant time in the secret. Expiry uses the database's clock. One query, and at most one write a minute.
    """
    match = SHAPE.fullmatch(raw)
    found = _valid_tokens().filter(prefix=match[1]).first() if match else None
    is_right = hmac.compare_digest(_hash(raw), found.hash if found else NO_HASH)
    if found is None or not is_right:
        return None
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - USE_RECORDED_EVERY)
    if found.last_used_at is None or datetime.now(UTC) - found.last_used_at > USE_RECORDED_EVERY:
        ApiToken.objects.filter(stale, pk=found.pk).update(last_used_at=Now())
    return found


def revoke_token(token: ApiToken, by: By) -> bool:
    """Revoke a token now; False if it was already. Event `token.revoked` on its principal. Raises NotYourToken."""
    if isinstance(by, Principal) and not may_revoke(by, token):
        raise NotYourToken
    with transaction.atomic():
        if not ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now()):
            return False
        subject = principal_subject(token.principal)
        record(NewEvent(token.tenant_id, subject, "token.revoked", actor_of(by), facts=_token_facts(token)))
        announce_role_change([token.principal_id])
    token.refresh_from_db(fields=["revoked_at"])
    return True


def may_revoke(by: Principal, token: ApiToken) -> bool:
    """The principal itself, its owner, a tenant admin, or a superuser: revoking gives nobody access."""
    return by.is_superuser or by.pk in delegation_chain(token.principal) or holds(by, "administer", token.tenant)


def _valid_tokens() -> QuerySet[ApiToken]:
    owner_is_active = Q(principal__owner=None) | Q(principal__owner__is_active=True)
    live = ApiToken.objects.filter(owner_is_active, revoked_at=None, expires_at__gt=Now(), principal__is_active=True)
    return live.select_related("tenant", "principal__owner")


def _check_new_token(principal: Principal, tenant: Tenant, name: str, scopes: list[str], expires_at: datetime) -> None:
    now = database_time()
    problems = {
        "name": "" if 0 < len(name.strip()) <= 100 else "Enter a name of at most 100 characters.",
        "scopes": "" if scopes and not set(scopes) - PERMISSIONS.keys() else f"Choose from {', '.join(PERMISSIONS)}.",
        "expires_at": "" if now < expires_at <= now + MAX_LIFETIME else "Choose a time within the next 366 days.",
        "principal": "" if tenant in tenants_of(principal) else "This principal does not belong to this tenant.",
    }
    issues = [{"severity": "error", "message": message, "field": name} for name, message in problems.items() if message]
    if issues:
        raise Invalid("The token cannot be created with these values.", issues=issues)


def _token_facts(token: ApiToken) -> dict[str, str]:
    return {"token": str(token.pk), "prefix": token.prefix}


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


# Tokens that a principal manages, for the page and the API.


EXPIRY_DAYS = {1: "1 day", 7: "7 days", 30: "30 days", 90: "90 days", 365: "1 year"}


def visible_tokens(access: Access) -> list[ApiToken]:
    """The tokens of the caller and of the agents it owns, in this tenant; valid ones first, newest first."""
    mine = ApiToken.objects.filter(tenant=access.tenant, principal__in=managed_principals(access.principal))
    tokens = list(mine.select_related("principal").order_by("-created_at"))
    now = database_time()
    return sorted(tokens, key=lambda token: is_expired_or_revoked(token, now))


def is_expired_or_revoked(token: ApiToken, now: datetime) -> bool:
    return token.revoked_at is not None or token.expires_at <= now


def managed_principals(principal: Principal) -> list[Principal]:
    """Whose tokens this principal manages: its own, and its agents'."""
    return [principal, *Principal.objects.filter(owner=principal, is_active=True).order_by("username")]


def issue_managed_token(
    access: Access, *, name: str, scopes: list[str], days: int, username: str = ""
) -> tuple[ApiToken, str]:
    """Issue a token of the caller, or of the agent of that name. Only for signed-in people: a token creates no tokens.

    Raises NotYourToken; Invalid for an agent that is unknown or not the caller's.
    """
    if access.token is not None or not access.is_person():
        raise NotYourToken(
            "Only a signed-in person can create tokens.", remedies=["Sign in and open Account, API tokens."]
        )
    managed = managed_principals(access.principal)
    who = next((p for p in managed if p.username == username), None) if username else access.principal
    if who is None:
        message = "You own no agent of this name."
        raise Invalid(message, issues=[{"severity": "error", "message": message, "field": "principal"}])
    expires_at = database_time() + timedelta(days=days)
    return issue_token(who, access.tenant, name, scopes, expires_at, by=access.principal)


def revoke_managed_token(access: Access, token_id: Any) -> ApiToken:
    """Revoke a token that the caller manages; a call with a token revokes only itself. NotFound for all others."""
    mine = ApiToken.objects.filter(tenant=access.tenant, principal__in=managed_principals(access.principal))
    token = mine.select_related("principal__owner", "tenant").filter(pk=token_id).first()
    if token is None:
        raise NotFound
    if access.token is not None and access.token.pk != token.pk:
        raise NotYourToken("A token can revoke only itself.", remedies=["Sign in to revoke other tokens."])
    revoke_token(token, access.principal)
    return token

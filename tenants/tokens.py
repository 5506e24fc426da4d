"""API tokens: `ilk_` + prefix + `_` + a 256-bit secret, shown once.

Stored as SHA-256: a random secret needs no stretching.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from audit.database.clock import database_time
from audit.errors import Forbidden, Invalid
from audit.log.events import NewEvent, record
from tenants.access import delegation_chain, holds, tenants_of
from tenants.models import PERMISSIONS, ApiToken, Principal, Tenant
from tenants.roles import By, actor_of, principal_subject, tell

SHAPE = re.compile(r"ilk_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
LONGEST = timedelta(days=366)
USED_AGAIN_AFTER = timedelta(minutes=1)
NOBODY = "0" * 64


class NotYourToken(Forbidden):
    """Only the one a token acts for, its owner, or a tenant admin may do this."""

    code = "not_your_token"


def issue_token(
    principal: Principal, tenant: Tenant, name: str, scopes: Iterable[str], expires_at: datetime, by: By
) -> tuple[ApiToken, str]:
    """Make a token; return it and the plain text, which cannot be had again. Event `token.issued` on the principal.

    `by` is the principal itself, the person it answers to, or the system. Raises NotYourToken; Invalid with all issues.
    """
    wanted = sorted(set(scopes))
    _check(principal, tenant, name, wanted, expires_at)
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
        facts = {**_facts(token), "scopes": wanted, "expires_at": expires_at.isoformat()}
        subject = principal_subject(principal)
        record(NewEvent(tenant.pk, subject, "token.issued", actor_of(by), facts=facts, private={"name": token.name}))
    return token, plain


def authenticate(raw: str) -> ApiToken | None:
    """The live token of this text, with its tenant, principal and owner loaded; None for every kind of wrong one.

    Constant time in the secret. Expiry goes by the database's clock. One query, and at most one write a minute.
    """
    match = SHAPE.fullmatch(raw)
    found = _live().filter(prefix=match[1]).first() if match else None
    is_right = hmac.compare_digest(_hash(raw), found.hash if found else NOBODY)
    if found is None or not is_right:
        return None
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - USED_AGAIN_AFTER)
    if found.last_used_at is None or datetime.now(UTC) - found.last_used_at > USED_AGAIN_AFTER:
        ApiToken.objects.filter(stale, pk=found.pk).update(last_used_at=Now())
    return found


def revoke(token: ApiToken, by: By) -> bool:
    """End a token now; False if it had been. Event `token.revoked` on its principal. Raises NotYourToken."""
    if isinstance(by, Principal) and not may_revoke(by, token):
        raise NotYourToken
    with transaction.atomic():
        if not ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now()):
            return False
        subject = principal_subject(token.principal)
        record(NewEvent(token.tenant_id, subject, "token.revoked", actor_of(by), facts=_facts(token)))
        tell([token.principal_id])
    token.refresh_from_db(fields=["revoked_at"])
    return True


def may_revoke(by: Principal, token: ApiToken) -> bool:
    """Itself, its owner, a tenant admin; and a superuser, since ending a credential gives nobody anything."""
    return by.is_superuser or by.pk in delegation_chain(token.principal) or holds(by, "administer", token.tenant)


def _live() -> QuerySet[ApiToken]:
    owner_acts = Q(principal__owner=None) | Q(principal__owner__is_active=True)
    live = ApiToken.objects.filter(owner_acts, revoked_at=None, expires_at__gt=Now(), principal__is_active=True)
    return live.select_related("tenant", "principal__owner")


def _check(principal: Principal, tenant: Tenant, name: str, scopes: list[str], expires_at: datetime) -> None:
    now = database_time()
    wrong = {
        "name": "" if 0 < len(name.strip()) <= 100 else "Give it a name of at most 100 characters.",
        "scopes": "" if scopes and not set(scopes) - PERMISSIONS.keys() else f"Choose from {', '.join(PERMISSIONS)}.",
        "expires_at": "" if now < expires_at <= now + LONGEST else "Choose a moment within the next 366 days.",
        "principal": "" if tenant in tenants_of(principal) else "They do not belong to this tenant.",
    }
    issues = [{"severity": "error", "message": message, "field": name} for name, message in wrong.items() if message]
    if issues:
        raise Invalid("The token cannot be issued like this.", issues=issues)


def _facts(token: ApiToken) -> dict[str, str]:
    return {"token": str(token.pk), "prefix": token.prefix}


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()

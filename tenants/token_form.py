"""What may be asked of a new token, for the page and the API alike."""

from datetime import datetime, timedelta
from typing import Any

from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from tenants.access import Access
from tenants.models import ApiToken, Principal
from tenants.tokens import NotYourToken, issue_token, revoke

EXPIRY_DAYS = {1: "1 day", 7: "7 days", 30: "30 days", 90: "90 days", 365: "1 year"}


def tokens_seen_by(access: Access) -> list[ApiToken]:
    """The tokens of the caller and of the agents it owns, in this tenant; living ones first, newest first."""
    mine = ApiToken.objects.filter(tenant=access.tenant, principal__in=managed_by(access.principal))
    tokens = list(mine.select_related("principal").order_by("-created_at"))
    now = database_time()
    return sorted(tokens, key=lambda token: is_over(token, now))


def is_over(token: ApiToken, now: datetime) -> bool:
    return token.revoked_at is not None or token.expires_at <= now


def managed_by(principal: Principal) -> list[Principal]:
    """Whose tokens this principal manages: its own, and its agents'."""
    return [principal, *Principal.objects.filter(owner=principal, is_active=True).order_by("username")]


def make_token(access: Access, *, name: str, scopes: list[str], days: int, username: str = "") -> tuple[ApiToken, str]:
    """Issue a token of the caller, or of the agent of that name. Only a signed-in person may: a token makes no tokens.

    Raises NotYourToken; Invalid for an agent that is unknown or somebody else's.
    """
    if access.token is not None or not access.is_person():
        raise NotYourToken("Tokens are made by a signed-in person.", remedies=["Sign in and open Account, API tokens."])
    managed = managed_by(access.principal)
    who = next((p for p in managed if p.username == username), None) if username else access.principal
    if who is None:
        message = "You own no agent of this name."
        raise Invalid(message, issues=[{"severity": "error", "message": message, "field": "principal"}])
    expires_at = database_time() + timedelta(days=days)
    return issue_token(who, access.tenant, name, scopes, expires_at, by=access.principal)


def end_token(access: Access, token_id: Any) -> ApiToken:
    """Revoke a token that the caller manages, or, sent with a token, that very token. NotFound for all others."""
    mine = ApiToken.objects.filter(tenant=access.tenant, principal__in=managed_by(access.principal))
    token = mine.select_related("principal__owner", "tenant").filter(pk=token_id).first()
    if token is None:
        raise NotFound
    if access.token is not None and access.token.pk != token.pk:
        raise NotYourToken("A token can end itself and no other.", remedies=["Sign in to revoke other tokens."])
    revoke(token, access.principal)
    return token

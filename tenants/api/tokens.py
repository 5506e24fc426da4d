"""API tokens over HTTP: the same functions as the page /account/tokens/."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Field, Router, Schema, Status

from tenants.access import access_of
from tenants.authentication.tokens import issue_managed_token, revoke_managed_token, visible_tokens
from tenants.models import ApiToken

router = Router(tags=["account"])


class TokenIn(Schema):
    """`principal` is the username of one of your agents; without it the token is your own."""

    name: str
    scopes: list[str]
    expires_in_days: int = Field(30, ge=1, le=366)
    principal: str = ""


class TokenOut(Schema):
    id: UUID
    name: str
    principal: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewTokenOut(TokenOut):
    """`token` is the credential itself. It is shown only once."""

    token: str


class TokenList(Schema):
    items: list[TokenOut]


@router.get("/tokens", response=TokenList, summary="List your tokens and those of your agents")
def list_tokens(request: HttpRequest) -> dict[str, Any]:
    return {"items": [_serialize_token(token) for token in visible_tokens(access_of(request))]}


@router.post("/tokens", response={201: NewTokenOut}, summary="Create a token (signed in, not with a token)")
def add_token(request: HttpRequest, body: TokenIn) -> Status[Any]:
    token, plain = issue_managed_token(
        access_of(request), name=body.name, scopes=body.scopes, days=body.expires_in_days, username=body.principal
    )
    return Status(201, {**_serialize_token(token), "token": plain})


@router.delete("/tokens/{uuid:token_id}", response={204: None}, summary="Revoke a token; a token may revoke itself")
def remove_token(request: HttpRequest, token_id: UUID) -> HttpResponse:
    revoke_managed_token(access_of(request), token_id)
    return HttpResponse(status=204)


def _serialize_token(token: ApiToken) -> dict[str, Any]:
    fields = (
        "id",
        "name",
        "prefix",
        "scopes",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    )
    return {**{field: getattr(token, field) for field in fields}, "principal": token.principal.username}

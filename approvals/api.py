"""The threshold matrix over HTTP, to read. It is edited in the admin."""

from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Schema

from approvals.matrix import table
from audit.errors import Forbidden
from tenants.access import Access
from tenants.models import Environment

router = Router(tags=["approvals"])


class SeatOut(Schema):
    role: str
    count: int


class CellOut(Schema):
    """`effect`: `deny` (no row), `hold` until the seats are filled, `allow` (a row that asks nobody)."""

    tier: Literal["low", "medium", "high", "critical"]
    effect: Literal["deny", "hold", "allow"]
    seats: list[SeatOut]
    words: str


class MatrixRowOut(Schema):
    environment: str
    environment_id: UUID
    risk_class: str
    cells: list[CellOut]


class MatrixOut(Schema):
    items: list[MatrixRowOut]


@router.get("/matrix", response=MatrixOut, summary="Who has to approve what: environment × tier → seats")
def read_matrix(request: HttpRequest) -> dict[str, Any]:
    """The environments that you may view, each with all four tiers. Where no row exists, every change is denied."""
    access: Access = request.access  # type: ignore[attr-defined]  # ninja's auth let nobody through without one
    visible = access.environments_where("view")
    if not visible:
        raise Forbidden("You may view no environment here.", remedies=["Ask a tenant admin for a role that may view."])
    environments = Environment.objects.filter(tenant=access.tenant, pk__in=visible).order_by("slug")
    return {"items": [_shown(row["environment"], row["cells"]) for row in table(environments)]}


def _shown(environment: Environment, cells: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "environment": environment.slug,
        "environment_id": environment.pk,
        "risk_class": environment.risk_class,
        "cells": cells,
    }

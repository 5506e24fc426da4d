"""
An auditor reads, and changes nothing: whatever route they ask by whatever method, nothing is written but that they did.

What they may write is theirs (searches, reports, their account), or takes evidence along, and is named below.
"""

import uuid
from typing import Any

import pytest
from django.db import connection

from tenants.models import Principal
from tenants.roles import add_member
from tests.api.conftest import carry, place, program
from tests.house.routes import BY_METHODS, OBJECTS, MethodsOf, routes
from tests.house.test_outsider import World, _clients, _filling, ask, world

__all__ = ["carry", "place", "program", "world"]
MUTATING = ("POST", "PUT", "PATCH", "DELETE")
REFUSALS = (401, 403, 404, 405, 501)
NOT_NOW = (409, 422)
"""Nothing is done either, and what was begun is undone."""
THEIRS = {
    "account/password/",
    "account/tenant/",
    "account/sign-out/",
    "account/tokens/",
    "api/tokens",
    "account/password/reset/",
    "account/sign-in/",
    "audit/searches/",
    "api/audit-searches",
    "audit/reports/<slug:kind>/request/",
    "audit/reports/<slug:kind>/schedule/",
    "api/reports/<slug:kind>/runs",
    "api/reports/schedules",
}
"""Their account, their searches, their reports."""
LOOKING = {
    "audit/<uuid:subject_id>/verify/",
    "api/audit-logs/<uuidstr:subject_id>/verify",
    "audit/<uuid:subject_id>/export/",
    "api/actions/<action_id>/evidence",
    "actions/<uuid:action_id>/evidence/",
    "api/audit-logs/<uuidstr:subject_id>/evidence",
    "policies/check/",
    "api/policies/check",
    "api/actions/dry-run",
    "audit/verification/",
    "api/audit-logs/verifications",
}
"""Verifying, building packs to take along, and asking what a rule or a proposal would come to."""
NOTHING = _filling(uuid.uuid4())
WRITES = ("INSERT", "UPDATE", "DELETE")
RECORDED = (
    "audit_event",
    "audit_privatevalue",
    "actions_action",
    "approvals_planview",
    "tenants_apitoken",
    "django_session",
)
"""What reading and being refused leave: the attempt, as an event that takes the change's next number; that a plan was
shown; when a token was used."""


@pytest.fixture
def auditor(world: World, place: Any) -> dict[str, Any]:
    """One who has nothing but the auditor's role in acme; a token with every scope, and a session."""
    person = Principal.objects.create_user("only-an-auditor")
    add_member(person, place.roles["auditor"])
    return _clients(person, place.acme)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
@BY_METHODS
def test_every_route_that_changes_something_refuses_an_auditor(
    world: World, auditor: dict[str, Any], methods_of: MethodsOf
) -> None:
    """Every route × every method that may write, with acme's own things: refused, and nothing is written."""
    wrong = []
    for route in routes():
        if route.startswith("admin/") or route in THEIRS | LOOKING | {"account/password/set/<uidb64>/<token>/"}:
            continue
        about = OBJECTS.get(route)
        client = auditor["api" if route.startswith("api/") else "page"]
        here = world.pair(about.what)[0] if about else NOTHING
        for method in set(MUTATING) & set(methods_of(route) if route.startswith("api/") else ["POST"]):
            status = ask(client, method, route, here, about.body if about else {})[0]
            written = [q["sql"][:160] for q in connection.queries_log if _writes(q["sql"])]
            if written if status in (*REFUSALS, *range(200, 400)) else status not in NOT_NOW:
                wrong.append(f"{method} {route} answers an auditor {status}; {written}")
    assert not wrong, "\n".join(wrong)


def _writes(sql: str) -> bool:
    return sql.lstrip("( ").upper().startswith(WRITES) and not any(table in sql for table in RECORDED)


@pytest.mark.django_db(transaction=True)
def test_the_admin_site_is_closed_to_an_auditor(world: World, auditor: dict[str, Any]) -> None:
    for route in ("admin/", "admin/tenants/principal/", "admin/approvals/matrixrow/add/"):
        for method in ("GET", "POST"):
            status, _, location, _ = ask(auditor["page"], method, route, NOTHING, {})
            assert status in (403, 404) or (status == 302 and "login" in location), f"{method} {route}: {status}"


def test_what_is_theirs_is_a_route() -> None:
    """A route that is renamed must not leave an open exception behind."""
    assert not (THEIRS | LOOKING) - set(routes())

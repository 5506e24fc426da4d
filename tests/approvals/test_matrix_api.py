"""GET /api/matrix: who has to approve what, for whoever may view."""

from approvals.models import MatrixRow
from approvals.policies.matrix import set_row
from tenants.roles import add_member, create_role, grant

TWO = [{"role": "approver", "count": 2}]


def test_the_matrix_shows_every_tier_of_every_environment_in_view(cast):
    set_row(cast.prod, "high", TWO, by="system:setup")
    set_row(cast.dev, "low", [], by="system:setup")
    set_row(cast.globex_prod, "low", TWO, by="system:setup")
    response = cast.api("auditor").get("/api/matrix")
    assert response.status_code == 200
    items = {row["environment"]: row for row in response.json()["items"]}
    assert list(items) == ["dev", "prod", "staging"]
    assert items["prod"]["environment_id"] == str(cast.prod.pk) and items["prod"]["risk_class"] == "dangerous"
    cells = {cell["tier"]: cell for cell in items["prod"]["cells"]}
    assert cells["high"] == {
        "tier": "high",
        "effect": "require_approval",
        "required_approvals": TWO,
        "words": "2 × approver",
    }
    assert cells["low"] == {"tier": "low", "effect": "deny", "required_approvals": [], "words": "denied"}
    assert items["dev"]["cells"][0] == {
        "tier": "low",
        "effect": "allow",
        "required_approvals": [],
        "words": "no approval",
    }


def test_the_outsider_sees_their_own_tenants_matrix_only(cast):
    set_row(cast.prod, "high", TWO, by="system:setup")
    items = cast.api("outsider").get("/api/matrix").json()["items"]
    assert [row["environment_id"] for row in items] == [str(cast.globex_prod.pk)]


def test_who_may_view_one_environment_sees_that_one(cast):
    role = create_role(cast.acme, "dev-only")
    grant(role, cast.dev, ["view"])
    cast.operator.groups.clear()
    add_member(cast.operator, role)
    assert [row["environment"] for row in cast.api("operator").get("/api/matrix").json()["items"]] == ["dev"]


def test_a_token_that_may_not_view_is_refused(cast, client):
    from django.test import Client

    blind = Client(headers={"Authorization": f"Bearer {cast.token('operator', ('propose',))}"})
    assert blind.get("/api/matrix").status_code == 403
    assert client.get("/api/matrix").status_code == 401


def test_the_matrix_is_not_written_over_http(cast):
    for method in ("post", "put", "patch", "delete"):
        assert (
            getattr(cast.api("admin"), method)("/api/matrix", "{}", content_type="application/json").status_code == 405
        )
    assert not MatrixRow.objects.exists()

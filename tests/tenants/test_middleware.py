"""Who `request.access` is, through the token API, which answers with what it found."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tenants.authentication.tokens import authenticate
from tenants.models import ApiToken
from tenants.roles import add_member

pytestmark = pytest.mark.django_db
URL = "/api/tokens"


def test_without_a_principal_the_answer_is_401(client, cast):
    response = client.get(URL)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthenticated"


def test_every_wrong_token_gets_the_same_401(client, cast):
    expired, revoked = cast.token("operator"), cast.token("operator")
    ApiToken.objects.filter(pk=authenticate(expired).pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    ApiToken.objects.filter(pk=authenticate(revoked).pk).update(revoked_at=timezone.now())
    bodies = []
    for raw in (expired, revoked, "ilk_00000000_" + "A" * 43, "nonsense", ""):
        response = client.get(URL, headers={"Authorization": f"Bearer {raw}"})
        assert response.status_code == 401
        bodies.append({k: v for k, v in response.json().items() if k != "correlation_id"})
    assert all(body == bodies[0] for body in bodies)


def test_a_wrong_token_is_not_rescued_by_a_session(cast):
    client = cast.client("operator")
    assert client.get(URL).status_code == 200
    assert client.get(URL, headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_a_token_counts_below_the_api_only(cast):
    assert cast.api("operator").get("/account/tokens/").status_code == 302


def test_a_foreign_tenant_in_the_header_answers_like_an_unknown_one(cast):
    for caller in (cast.client("operator"), cast.api("operator")):
        answers = [caller.get(URL, headers={"X-Interlock-Tenant": slug}) for slug in ("globex", "nowhere")]
        foreign, unknown = [
            (a.status_code, {k: v for k, v in a.json().items() if k != "correlation_id"}) for a in answers
        ]
        assert foreign == unknown
        assert foreign[0] == 404
        assert caller.get(URL, headers={"X-Interlock-Tenant": "acme"}).status_code == 200


def test_a_superuser_without_a_role_is_nobody_in_a_tenant(cast):
    assert cast.client("admin").get(URL, headers={"X-Interlock-Tenant": "globex"}).status_code == 404


def test_the_header_chooses_among_ones_own_tenants(cast):
    add_member(cast.operator, cast.globex.roles.get(name="operator"))
    cast.token("operator")
    client = cast.client("operator")
    assert len(client.get(URL, headers={"X-Interlock-Tenant": "acme"}).json()["items"]) == 1
    assert client.get(URL, headers={"X-Interlock-Tenant": "globex"}).json()["items"] == []


def test_a_session_needs_its_csrf_token_and_a_bearer_token_does_not(cast):
    body = {"name": "x", "scopes": ["view"]}
    session = cast.client("operator", enforce_csrf_checks=True)
    assert session.post(URL, body, content_type="application/json").json()["code"] == "stale_form"
    api = cast.api("operator")
    token = authenticate(api._base_environ()["HTTP_AUTHORIZATION"].split()[1])
    assert api.delete(f"{URL}/{token.pk}").status_code == 204

import re

import pytest

from audit.database.clock import uuid7
from tenants.authentication.tokens import authenticate
from tenants.models import ApiToken

pytestmark = pytest.mark.django_db
URL = "/account/tokens/"
FORM = {"name": "laptop", "principal": "operator", "scopes": ["view"], "days": "30"}


def test_a_stranger_is_sent_to_sign_in(client):
    assert client.get(URL).headers["Location"] == f"/account/sign-in/?next={URL}"


def test_the_plain_token_is_on_the_answer_to_the_form_and_nowhere_after(cast):
    client = cast.client("operator")
    page = client.post(URL, FORM)
    plain = re.search(r"ilk_[0-9a-f]{8}_[\w-]{43}", page.content.decode())[0]
    assert authenticate(plain).scopes == ["view"]
    assert "no-store" in page.headers["Cache-Control"]
    later = client.get(URL).content.decode()
    assert plain not in later
    assert plain[:12] in later


def test_revoking_takes_a_post_and_ends_the_token(cast):
    client = cast.client("operator")
    plain = cast.token("operator")
    token = authenticate(plain)
    url = f"{URL}{token.pk}/revoke/"
    assert client.get(url).status_code == 405
    assert authenticate(plain)
    assert client.post(url).headers["Location"] == URL
    assert authenticate(plain) is None
    assert b"revoked" in client.get(URL).content


def test_tokens_of_others_are_not_there(cast):
    mates = authenticate(cast.token("approver"))
    client = cast.client("operator")
    assert f"ilk_{mates.prefix}" not in client.get(URL).content.decode()
    foreign, unknown = (client.post(f"{URL}{pk}/revoke/") for pk in (mates.pk, uuid7()))
    assert foreign.status_code == unknown.status_code == 404


def test_the_form_offers_the_caller_and_their_agents_only(cast):
    client = cast.client("operator")
    page = client.post(URL, {**FORM, "principal": "approver"})
    assert page.status_code == 422
    assert not ApiToken.objects.exists()
    assert client.post(URL, {**FORM, "principal": "agent"}).status_code == 200
    assert ApiToken.objects.get().principal == cast.agent


def test_who_belongs_to_no_tenant_is_told_what_to_do(client, db):
    from tenants.models import Principal

    client.force_login(Principal.objects.create_user("lonely"), backend="django.contrib.auth.backends.ModelBackend")
    page = client.get(URL)
    assert page.status_code == 403
    assert b"belong to no tenant" in page.content

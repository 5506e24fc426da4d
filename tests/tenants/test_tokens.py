from datetime import timedelta

import pytest
from django.utils import timezone

from audit.errors import Invalid
from audit.models import Event, PrivateValue
from tenants.access import access_for
from tenants.authentication.tokens import NotYourToken, authenticate, issue_token, revoke_token
from tenants.models import ApiToken, Principal

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]
ALL = ("view", "propose", "approve")


def soon():
    return timezone.now() + timedelta(days=1)


def issue(cast, who, by=None, tenant=None, name="laptop", scopes=ALL, expires_at=None):
    return issue_token(who, tenant or cast.acme, name, scopes, expires_at or soon(), by or who)


def test_a_token_is_shown_once_and_stored_as_a_hash(cast):
    token, plain = issue(cast, cast.operator)
    assert plain.startswith(f"ilk_{token.prefix}_")
    row = ApiToken.objects.filter(pk=token.pk).values().get()
    secret = plain.rpartition("_")[2]
    assert not any(secret in str(value) for value in row.values())
    event = Event.objects.get(subject_id=cast.operator.pk, verb="token.issued")
    assert secret.encode() not in bytes(event.body)
    assert b"laptop" not in bytes(event.body)
    assert PrivateValue.objects.get(subject_id=cast.operator.pk, name="name")


def test_it_authenticates_its_principal_in_one_query(cast, django_assert_num_queries):
    token, plain = issue(cast, cast.agent, by=cast.operator)
    assert authenticate(plain) == token
    with django_assert_num_queries(1):
        found = authenticate(plain)
        assert found.principal == cast.agent
        assert found.tenant == cast.acme
        assert found.principal.owner == cast.operator


def test_its_use_is_written_down_at_most_once_a_minute(cast):
    token, plain = issue(cast, cast.operator)
    authenticate(plain)
    first = ApiToken.objects.get(pk=token.pk).last_used_at
    assert first is not None
    authenticate(plain)
    assert ApiToken.objects.get(pk=token.pk).last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    authenticate(plain)
    assert ApiToken.objects.get(pk=token.pk).last_used_at > first - timedelta(minutes=1)


def test_every_kind_of_wrong_token_is_nobody(cast):
    token, plain = issue(cast, cast.operator)
    wrong = ["", "ilk", plain[:-1], plain + "x", plain.upper(), " " + plain, plain.replace(token.prefix, "00000000")]
    changed = plain[:-1] + ("A" if plain[-1] != "A" else "B")
    assert [authenticate(raw) for raw in [*wrong, changed]] == [None] * 8
    assert ApiToken.objects.get(pk=token.pk).last_used_at is None


def test_an_expired_token_is_nobody(cast):
    token, plain = issue(cast, cast.operator)
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert authenticate(plain) is None


def test_a_revoked_token_is_nobody_and_revoking_twice_leaves_one_event(cast):
    token, plain = issue(cast, cast.operator)
    assert revoke_token(token, cast.operator)
    assert not revoke_token(token, cast.operator)
    assert authenticate(plain) is None
    assert Event.objects.filter(subject_id=cast.operator.pk, verb="token.revoked").count() == 1


def test_a_token_of_an_inactive_principal_or_of_an_inactive_owners_agent_is_nobody(cast):
    mine, agents = issue(cast, cast.operator)[1], issue(cast, cast.agent, by=cast.operator)[1]
    Principal.objects.filter(pk=cast.operator.pk).update(is_active=False)
    assert authenticate(mine) is None
    assert authenticate(agents) is None


def test_scopes_only_narrow(cast):
    token, _ = issue(cast, cast.operator, scopes=["view", "approve"])
    access = access_for(cast.operator, cast.acme, token)
    assert access.tenant_permissions == {"view"}
    assert not access.can("propose", cast.dev.pk)
    assert not access.can("approve", cast.dev.pk)


def test_a_token_gives_nothing_in_another_tenant_or_to_another_principal(cast):
    token, _ = issue(cast, cast.operator)
    assert access_for(cast.operator, cast.globex, token).environments == {}
    assert access_for(cast.approver, cast.acme, token).environments == {}


def test_only_a_person_issues_and_only_for_themselves_and_their_agents(cast):
    for who, by in [
        (cast.operator, cast.approver),
        (cast.operator, cast.admin),
        (cast.agent, cast.agent),
        (cast.operator, cast.agent),
    ]:
        with pytest.raises(NotYourToken):
            issue(cast, who, by=by)
    assert not ApiToken.objects.exists()


def test_what_is_wrong_is_said_all_at_once(cast):
    with pytest.raises(Invalid) as caught:
        issue(cast, cast.operator, tenant=cast.globex, name=" ", scopes=["fly"], expires_at=timezone.now())
    assert [issue["field"] for issue in caught.value.extra["issues"]] == ["name", "scopes", "expires_at", "principal"]


def test_a_token_is_revoked_by_its_owner_or_a_tenant_admin_and_by_nobody_else(cast):
    token, plain = issue(cast, cast.agent, by=cast.operator)
    for stranger in (cast.approver, cast.outsider):
        with pytest.raises(NotYourToken):
            revoke_token(token, stranger)
    assert authenticate(plain)
    assert revoke_token(token, cast.admin)

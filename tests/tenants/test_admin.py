"""The admin site, as a tenant admin sees it: their own tenant, and no way to any other."""

import json

import pytest
from django.urls import reverse

from audit.models import Event
from tenants.access import access_for
from tenants.models import ApiToken, Environment, Principal, Resource, Role, Tenant

pytestmark = pytest.mark.django_db
MODELS = ("tenant", "environment", "resource", "principal", "role", "apitoken")


@pytest.fixture
def boss(cast):
    """A tenant admin of acme: the role, may use the admin, and no superuser."""
    boss = Principal.objects.create_user("boss", is_staff=True)
    boss.groups.add(cast.roles["admin"].group)
    return boss


@pytest.fixture
def site(cast, boss, client):
    client.force_login(boss, backend="django.contrib.auth.backends.ModelBackend")
    return client


def url(model: str, what: str = "changelist", *args: object) -> str:
    return reverse(f"admin:tenants_{model}_{what}", args=args)


def facts_of(verb: str) -> dict:
    return json.loads(bytes(Event.objects.filter(verb=verb).latest("id").body))["facts"]


@pytest.mark.parametrize("model", MODELS)
def test_every_list_shows_the_own_tenant_only(cast, site, model):
    cast.token("operator")
    cast.token("outsider")
    page = site.get(url(model))
    assert page.status_code == 200
    assert b"globex" not in page.content.lower()
    assert b"outsider" not in page.content


@pytest.mark.parametrize("model", MODELS)
def test_who_administers_nothing_sees_no_list(cast, client, model):
    cast.operator.is_staff = True
    cast.operator.save()
    client.force_login(cast.operator, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(url(model)).status_code == 403


def test_a_foreign_object_answers_as_an_unknown_one(cast, site):
    unknown = "01900000-0000-7000-8000-000000000000"
    for model, foreign in {
        "tenant": cast.globex,
        "environment": cast.globex_prod,
        "principal": cast.outsider,
        "role": Role.objects.get(tenant=cast.globex, name="operator"),
    }.items():
        for what in ("change", "history", "delete"):
            answers = [site.get(url(model, what, pk)) for pk in (foreign.pk, unknown)]
            assert answers[0].status_code == answers[1].status_code, (model, what)
            assert answers[0].headers.get("Location") == answers[1].headers.get("Location"), (model, what)


def test_a_foreign_tenant_cannot_be_chosen(cast, site):
    fields = {
        "tenant": cast.globex.pk,
        "slug": "new",
        "name": "New",
        "risk_class": "safe",
        "root": "",
        "settings": "{}",
    }
    page = site.post(url("environment", "add"), fields)
    assert page.status_code == 200
    assert not Environment.objects.filter(slug="new").exists()
    resource = {"environment": cast.globex_prod.pk, "kind": "file", "name": "x", "labels": "{}", "risk_class": "safe"}
    site.post(url("resource", "add"), resource)
    assert not Resource.objects.exists()
    assert b"lobex" not in site.get(url("environment", "add")).content


def test_an_environment_is_made_and_changed_with_before_and_after(cast, site, boss):
    fields = {
        "tenant": cast.acme.pk,
        "slug": "qa",
        "name": "QA",
        "risk_class": "safe",
        "root": "/srv/qa",
        "settings": "{}",
    }
    site.post(url("environment", "add"), fields)
    made = Environment.objects.get(tenant=cast.acme, slug="qa")
    site.post(url("environment", "change", made.pk), {**fields, "risk_class": "guarded"})
    made.refresh_from_db()
    assert made.risk_class == "guarded"
    facts = facts_of("environment.changed")
    assert (facts["before"], facts["after"]) == ({"risk_class": "safe"}, {"risk_class": "guarded"})
    assert Event.objects.filter(verb="environment.changed").latest("id").actor == str(boss.pk)


def test_a_member_is_added_given_roles_and_closed(cast, site):
    roles = cast.roles
    fields = {
        "username": "dana",
        "display_name": "Dana Reyes",
        "email": "dana@example.test",
        "kind": "person",
        "owner": "",
        "is_active": "on",
        "roles": [roles["operator"].pk],
    }
    page = site.post(url("principal", "add"), fields)
    assert page.status_code == 302, page.context["adminform"].form.errors
    dana = Principal.objects.get(username="dana")
    assert not dana.has_usable_password()
    assert access_for(dana, cast.acme).can("propose", cast.dev.pk)
    site.post(url("principal", "change", dana.pk), {**fields, "roles": [roles["auditor"].pk]})
    assert access_for(Principal.objects.get(pk=dana.pk), cast.acme).can("propose", cast.dev.pk) is False
    assert Event.objects.filter(verb="role.member_removed", subject_id=dana.pk).exists()
    del fields["is_active"]
    site.post(url("principal", "change", dana.pk), {**fields, "roles": [roles["auditor"].pk]})
    dana.refresh_from_db()
    assert dana.is_active is False
    assert facts_of("principal.changed")["after"] == {"is_active": False}
    bodies = b"".join(bytes(e.body) for e in Event.objects.all())
    assert b"Dana Reyes" not in bodies


def test_a_new_member_needs_a_role(cast, site):
    page = site.post(url("principal", "add"), {"username": "x", "kind": "person", "is_active": "on"})
    assert page.status_code == 200
    assert not Principal.objects.filter(username="x").exists()


@pytest.mark.parametrize("who", ["admin", "outsider"])
def test_nobody_takes_over_an_account_that_reaches_further(cast, site, who):
    account = getattr(cast, who)
    account.groups.add(cast.roles["operator"].group)
    site.post(
        url("principal", "change", account.pk),
        {"username": "mine", "email": "mine@example.test", "kind": "person", "roles": [cast.roles["auditor"].pk]},
    )
    account.refresh_from_db()
    assert (account.username, account.email) != ("mine", "mine@example.test")
    assert account.username == who


def test_a_tenant_admin_makes_nobody_staff_or_superuser(cast, site):
    fields = {
        "username": "eve",
        "kind": "person",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "roles": [cast.roles["operator"].pk],
    }
    site.post(url("principal", "add"), fields)
    eve = Principal.objects.get(username="eve")
    assert (eve.is_staff, eve.is_superuser) == (False, False)


def test_a_foreign_role_cannot_be_given(cast, site):
    foreign = Role.objects.get(tenant=cast.globex, name="admin")
    site.post(url("principal", "add"), {"username": "eve", "kind": "person", "is_active": "on", "roles": [foreign.pk]})
    assert not Principal.objects.filter(username="eve").exists()


def test_what_a_role_may_do_is_set_for_the_tenant_and_for_one_environment(cast, site):
    role = cast.roles["operator"]
    page = site.post(url("role", "change", role.pk), {"everywhere": ["view"], "in_dev": ["propose", "operate"]})
    assert page.status_code == 302
    access = access_for(cast.operator, cast.acme)
    assert access.can("propose", cast.dev.pk)
    assert not access.can("propose", cast.prod.pk)
    assert access.can("view", cast.prod.pk)
    assert facts_of("role.granted")["role"] == "operator"


def test_tokens_are_seen_without_their_secret_and_revoked(cast, site):
    plain = cast.token("operator")
    token = ApiToken.objects.get()
    page = site.get(url("apitoken", "change", token.pk))
    assert plain.encode() not in page.content
    assert token.hash.encode() not in page.content
    site.post(url("apitoken"), {"action": "revoke_tokens", "_selected_action": [str(token.pk)]})
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_only_a_superuser_makes_tenants_and_deletes_none(cast, site):
    assert site.get(url("tenant", "add")).status_code == 403
    site.force_login(cast.admin, backend="django.contrib.auth.backends.ModelBackend")
    site.post(url("tenant", "add"), {"slug": "initech", "name": "Initech"})
    made = Tenant.objects.get(slug="initech")
    assert Role.objects.filter(tenant=made).count() == 5
    assert site.post(url("tenant", "delete", made.pk), {"post": "yes"}).status_code == 403

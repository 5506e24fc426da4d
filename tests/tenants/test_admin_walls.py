"""Ways around the admin's walls that a tenant admin could try."""

import pytest
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.urls import NoReverseMatch, reverse

from audit.database.clock import uuid7
from audit.models import Event
from tenants.access import tenants_of
from tenants.models import ApiToken, Environment, Principal, Resource, Role
from tenants.roles import add_member, roles_changed
from tests.tenants.test_admin import boss, facts_of, site, url

__all__ = ["boss", "site"]
pytestmark = pytest.mark.django_db
PERSON = {"username": "dana", "display_name": "", "email": "", "kind": "person", "owner": "", "is_active": "on"}


def resource_of(environment, name):
    return Resource.objects.create(tenant=environment.tenant, environment=environment, kind="file", name=name)


def test_where_files_may_be_written_is_for_the_installation_to_say(cast, site):
    """Workers are shared between tenants: a root is a path on their disk, and settings say whom they may reach."""
    fields = {"tenant": cast.acme.pk, "slug": "dev", "name": "dev", "risk_class": "safe"}
    wanted = {"root": cast.globex_prod.root, "settings": '{"reach": "everything"}'}
    before = Environment.objects.get(pk=cast.dev.pk)
    site.post(url("environment", "change", cast.dev.pk), {**fields, **wanted})
    site.post(url("environment", "add"), {**fields, **wanted, "slug": "mine"})
    after = Environment.objects.get(pk=cast.dev.pk)
    assert (after.root, after.settings) == (before.root, before.settings)
    assert not Environment.objects.filter(slug="mine", root=cast.globex_prod.root).exists()
    root = cast.client("admin")
    root.post(url("environment", "change", cast.dev.pk), {**fields, "root": "/srv/dev", "settings": "{}"})
    assert Environment.objects.get(pk=cast.dev.pk).root == "/srv/dev"


def test_a_root_is_an_absolute_directory(cast):
    fields = {"tenant": cast.acme.pk, "slug": "dev", "name": "dev", "risk_class": "safe", "settings": "{}"}
    page = cast.client("admin").post(url("environment", "change", cast.dev.pk), {**fields, "root": "srv/../dev"})
    assert page.status_code == 200
    assert Environment.objects.get(pk=cast.dev.pk).root == cast.dev.root


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("principal", "password__startswith=pbkdf2"),
        ("principal", "tokens__hash__startswith=a"),
        ("principal", "groups__role__tenant__slug=globex"),
        ("apitoken", "hash__startswith=a"),
        ("apitoken", "principal__password__startswith=p"),
        ("resource", "environment__tenant__slug=acme"),
        ("tenant", "wrapped_key__isnull=0"),
        ("environment", "tenant__slug__startswith=a"),
    ],
)
def test_a_list_cannot_be_asked_what_it_does_not_offer(cast, site, model, query):
    assert site.get(f"{url(model)}?{query}").status_code in (302, 400)


def test_searching_finds_nothing_of_other_tenants(cast, site):
    resource_of(cast.globex_prod, "secret-plan")
    for model, words, found in (("principal", "outsider", 0), ("resource", "secret", 0), ("environment", "prod", 1)):
        assert site.get(f"{url(model)}?q={words}").context["cl"].result_count == found


def test_no_choice_of_any_form_names_another_tenant(cast, site):
    resource_of(cast.globex_prod, "globex-secret")
    agent = Principal.objects.create_agent("globex-agent", cast.outsider)
    add_member(agent, cast.globex.roles.get(name="operator"))
    here = resource_of(cast.dev, "a")
    pages = [
        *(url(model, "add") for model in ("environment", "resource", "principal", "role")),
        url("resource", "change", here.pk),
        url("principal", "change", cast.agent.pk),
        url("role", "change", cast.roles["operator"].pk),
    ]
    for page in pages:
        content = site.get(page).content.lower()
        assert b"globex" not in content, page
        assert b"outsider" not in content, page


def test_a_foreign_reference_is_refused_in_the_words_for_an_unknown_one(cast, site):
    foreign = resource_of(cast.globex_prod, "theirs")
    here = resource_of(cast.dev, "a")
    fields = {"kind": "file", "name": "a", "labels": "{}", "risk_class": "safe"}
    cases = [
        (url("resource", "add"), "environment", fields, cast.globex_prod.pk),
        (url("resource", "change", here.pk), "depends_on", fields, foreign.pk),
        (url("environment", "add"), "tenant", {"slug": "x", "name": "x", "risk_class": "safe"}, cast.globex.pk),
        (url("role", "add"), "tenant", {"name": "x"}, cast.globex.pk),
        (
            url("principal", "add"),
            "owner",
            {**PERSON, "kind": "agent", "roles": [cast.roles["operator"].pk]},
            cast.outsider.pk,
        ),
        (url("principal", "add"), "roles", PERSON, cast.globex.roles.first().pk),
    ]
    for address, name, others, pk in cases:
        said = []
        for value in (pk, uuid7()):
            page = site.post(address, {**others, name: [str(value)]})
            assert page.status_code == 200, (address, name)
            errors = page.context["adminform"].form.errors
            said.append(str(errors[name]).replace(str(value), "ID"))
        assert said[0] == said[1], (address, name)
    assert not here.depends_on.exists()
    assert not Principal.objects.filter(username="dana").exists()


def test_an_action_on_foreign_rows_does_nothing(cast, site):
    cast.token("outsider")
    token = ApiToken.objects.get()
    site.post(url("apitoken"), {"action": "revoke_tokens", "_selected_action": [str(token.pk)]})
    site.post(url("apitoken"), {"action": "revoke_tokens", "select_across": "1", "_selected_action": [str(token.pk)]})
    token.refresh_from_db()
    assert token.revoked_at is None


def test_nothing_is_deleted_not_even_by_the_action_for_it(cast, site):
    for client in (site, cast.client("admin")):
        for model, thing in (("principal", cast.approver), ("environment", cast.dev), ("role", cast.roles["auditor"])):
            fields = {"action": "delete_selected", "_selected_action": [str(thing.pk)], "post": "yes"}
            client.post(url(model), fields)
            client.post(url(model, "delete", thing.pk), {"post": "yes"})
            assert type(thing).objects.filter(pk=thing.pk).exists()


def test_autocomplete_offers_the_own_tenant_only(cast, site):
    resource_of(cast.globex_prod, "globex-secret")
    for model, name in (("resource", "depends_on"), ("resource", "environment"), ("principal", "owner")):
        query = f"app_label=tenants&model_name={model}&field_name={name}&term="
        answer = site.get(f"{reverse('admin:autocomplete')}?{query}")
        assert answer.status_code in (200, 403)
        assert b"globex" not in answer.content
        assert b"outsider" not in answer.content


def test_the_view_on_site_link_says_nothing(cast, site):
    kind = ContentType.objects.get_for_model(Environment).pk
    pages = [site.get(reverse("admin:view_on_site", args=[kind, pk])) for pk in (cast.globex_prod.pk, uuid7())]
    assert [page.status_code for page in pages] == [404, 404]


def test_groups_are_not_edited_behind_the_roles(cast):
    with pytest.raises(NoReverseMatch):
        reverse("admin:auth_group_changelist")
    assert Group.objects.exists()


def test_the_admins_own_sign_in_leads_to_ours(client, cast):
    """It would know no throttle and leave no event."""
    page = client.get("/admin/login/?next=/admin/")
    assert page.status_code == 302
    assert page.headers["Location"] == "/account/sign-in/?next=/admin/"
    posted = client.post("/admin/login/?next=/admin/", {"username": "admin", "password": "x"})
    assert posted.headers["Location"].startswith("/account/sign-in/")
    assert cast.client("operator").get("/admin/password_change/").headers["Location"] == "/account/password/"


def test_closing_an_account_is_told_to_open_connections(cast, site, django_capture_on_commit_callbacks):
    heard = []

    def hear(sender, principal_id, **_):
        heard.append(principal_id)

    roles_changed.connect(hear)
    fields = {**PERSON, "username": "operator", "roles": [cast.roles["operator"].pk]}
    del fields["is_active"]
    with django_capture_on_commit_callbacks(execute=True):
        site.post(url("principal", "change", cast.operator.pk), fields)
    roles_changed.disconnect(hear)
    cast.operator.refresh_from_db()
    assert not cast.operator.is_active
    assert {cast.operator.pk, cast.agent.pk} <= set(heard)
    assert tenants_of(cast.operator) == []


def test_a_person_cannot_be_turned_into_an_agent_nor_an_agent_into_a_person(cast, site):
    as_agent = {
        **PERSON,
        "username": "approver",
        "kind": "agent",
        "owner": cast.operator.pk,
        "roles": [cast.roles["approver"].pk],
    }
    as_person = {**PERSON, "username": "agent", "roles": [cast.roles["operator"].pk]}
    site.post(url("principal", "change", cast.approver.pk), as_agent)
    site.post(url("principal", "change", cast.agent.pk), as_person)
    cast.approver.refresh_from_db()
    cast.agent.refresh_from_db()
    assert (cast.approver.kind, cast.agent.kind) == ("person", "agent")
    page = cast.client("admin").post(
        url("principal", "change", cast.agent.pk), {**as_person, "owner": cast.operator.pk, "is_staff": "on"}
    )
    assert "can neither use the admin" in str(page.context["adminform"].form.errors)


def test_an_agent_without_an_owner_is_refused_with_words(cast, site):
    page = site.post(url("principal", "add"), {**PERSON, "kind": "agent", "roles": [cast.roles["operator"].pk]})
    assert "needs an owner" in str(page.context["adminform"].form.errors)
    owned = {**PERSON, "kind": "agent", "owner": cast.agent.pk, "roles": [cast.roles["operator"].pk]}
    page = site.post(url("principal", "add"), owned)
    assert page.status_code == 200
    assert "owner" in page.context["adminform"].form.errors


def test_what_a_resource_depends_on_is_in_the_event(cast, site):
    base, here = resource_of(cast.dev, "base"), resource_of(cast.dev, "a")
    fields = {"kind": "file", "name": "a", "labels": "{}", "risk_class": "guarded", "depends_on": [base.pk]}
    page = site.post(url("resource", "change", here.pk), fields)
    assert page.status_code == 302, page.context["adminform"].form.errors
    assert list(here.depends_on.all()) == [base]
    facts = facts_of("resource.changed")
    assert facts["before"]["depends_on"] == []
    assert facts["after"]["depends_on"] == [str(base.pk)]


def test_a_resource_is_not_renamed_onto_another(cast, site):
    resource_of(cast.dev, "base")
    here = resource_of(cast.dev, "a")
    fields = {"kind": "file", "name": "base", "labels": "{}", "risk_class": "guarded"}
    page = site.post(url("resource", "change", here.pk), fields)
    assert "already has a resource of this kind" in str(page.context["adminform"].form.errors)


def test_not_even_a_superuser_ties_resources_of_two_tenants_together(cast):
    foreign, here = resource_of(cast.globex_prod, "theirs"), resource_of(cast.dev, "a")
    fields = {"kind": "file", "name": "a", "labels": "{}", "risk_class": "guarded", "depends_on": [foreign.pk]}
    page = cast.client("admin").post(url("resource", "change", here.pk), fields)
    assert page.status_code == 200
    assert not here.depends_on.exists()


def test_a_superuser_without_a_role_in_a_tenant_can_end_its_tokens(cast):
    cast.token("outsider")
    token = ApiToken.objects.get()
    cast.client("admin").post(url("apitoken"), {"action": "revoke_tokens", "_selected_action": [str(token.pk)]})
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_an_admin_makes_the_link_that_sets_a_password(cast, site):
    page = site.post(
        url("principal"), {"action": "make_password_link", "_selected_action": [str(cast.approver.pk)]}, follow=True
    )
    link = next(word for word in page.content.decode().split() if "/account/password/set/" in word)
    assert "/account/password/set/" in link
    assert Event.objects.filter(subject_id=cast.approver.pk, verb="principal.password_link_made").exists()
    for name in ("agent", "admin"):
        add_member(getattr(cast, name), cast.roles["auditor"])
        who = {"action": "make_password_link", "_selected_action": [str(getattr(cast, name).pk)]}
        assert b"/account/password/set/" not in site.post(url("principal"), who, follow=True).content


def test_a_role_of_another_tenant_stays_when_the_others_are_changed(cast, site):
    foreign = Role.objects.get(tenant=cast.globex, name="auditor")
    add_member(cast.operator, foreign)
    site.post(url("principal", "change", cast.operator.pk), {"roles": [cast.roles["auditor"].pk]})
    assert set(Role.objects.filter(group__user=cast.operator)) == {foreign, cast.roles["auditor"]}

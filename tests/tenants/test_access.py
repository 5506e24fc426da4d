import pytest
from django.contrib.auth.models import Group
from guardian.shortcuts import assign_perm

from audit.models import Event
from tenants.access import access_for, delegation_chain, holds, tenants_of, visible_to
from tenants.models import PERMISSIONS, Principal, Resource
from tenants.provisioning import create_environment
from tenants.roles import add_member, create_role, grant, remove_member, roles_changed

pytestmark = pytest.mark.django_db


def test_a_grant_on_the_tenant_covers_its_environments(cast):
    assert holds(cast.operator, "propose", cast.acme)
    assert holds(cast.operator, "propose", cast.prod)
    assert not holds(cast.operator, "approve", cast.prod)
    assert not holds(cast.operator, "view", cast.globex)
    assert not holds(cast.operator, "view", cast.globex_prod)


def test_a_grant_on_an_environment_covers_only_that_one(cast):
    role = create_role(cast.acme, "release")
    grant(role, cast.dev, ["view", "approve"])
    add_member(cast.auditor, role)
    access = cast.access("auditor")
    assert access.can("approve", cast.dev.pk)
    assert not access.can("approve", cast.prod.pk)
    assert not access.can("approve")
    assert access.environments_where("approve") == [cast.dev.pk]
    assert access.role_in("release", cast.dev.pk)
    assert not access.role_in("release", cast.prod.pk)
    assert holds(cast.auditor, "approve", cast.dev, role="release")
    assert not holds(cast.auditor, "approve", cast.dev, role="auditor")


def test_a_superuser_holds_what_is_granted_and_no_more(cast):
    assert cast.access("admin").tenant_permissions == {"view", "audit", "administer"}
    assert access_for(cast.admin, cast.globex).tenant_permissions == set()
    assert not holds(cast.admin, "view", cast.globex)
    root = Principal.objects.create_superuser("root")
    assert access_for(root, cast.acme).environments == {}
    assert tenants_of(root) == []


def test_who_is_inactive_holds_nothing_and_neither_do_their_agents(cast):
    Principal.objects.filter(pk=cast.operator.pk).update(is_active=False)
    assert not holds(cast.operator, "view", cast.acme)
    assert cast.access("operator").environments == {}
    assert not holds(cast.agent, "propose", cast.dev)


def test_an_agent_never_decides_whatever_it_is_granted(cast):
    for name in ("approver", "admin"):
        add_member(cast.agent, cast.roles[name])
    assign_perm("break_glass", cast.agent, cast.prod)
    access = cast.access("agent")
    assert access.can("propose", cast.prod.pk)
    assert not any(access.can(p, cast.prod.pk) for p in ("approve", "break_glass", "administer"))
    assert not holds(cast.agent, "approve", cast.prod)


def test_a_permission_of_ones_own_counts_without_a_role(cast):
    assign_perm("view", cast.outsider, cast.dev)
    access = access_for(cast.outsider, cast.acme)
    assert access.environments == {cast.dev.pk: {"view"}}
    assert access.roles == {}
    assert cast.acme in tenants_of(cast.outsider)


def test_a_role_of_another_tenant_gives_nothing_even_if_a_row_says_so(cast):
    group = cast.globex.roles.get(name="operator").group
    assign_perm("view", group, cast.acme)
    assign_perm("view", group, cast.dev)
    assert not holds(cast.outsider, "view", cast.acme)
    assert access_for(cast.outsider, cast.acme).environments == {}


def test_a_group_that_is_no_role_gives_nothing(cast):
    group = Group.objects.create(name="plain")
    assign_perm("view", group, cast.acme)
    cast.outsider.groups.add(group)
    assert not holds(cast.outsider, "view", cast.acme)


def test_access_costs_two_queries_however_much_there_is(cast, django_assert_num_queries):
    for n in range(10):
        environment = create_environment(cast.acme, f"env-{n}", "more", "safe")
        role = create_role(cast.acme, f"role-{n}")
        grant(role, environment, PERMISSIONS)
        add_member(cast.operator, role)
    with django_assert_num_queries(2):
        access = access_for(cast.operator, cast.acme)
    assert len(access.environments_where("approve")) == 10
    with django_assert_num_queries(1):
        assert holds(cast.operator, "view", cast.prod)
    with django_assert_num_queries(1):
        assert tenants_of(cast.operator) == [cast.acme]


def test_visible_to_starts_from_the_tenant_and_ends_at_the_environments(cast):
    def resource(environment, name):
        return Resource.objects.create(tenant=environment.tenant, environment=environment, kind="file", name=name)

    here, there = resource(cast.dev, "a"), resource(cast.prod, "b")
    foreign = resource(cast.globex_prod, "c")
    role = create_role(cast.acme, "dev-only")
    grant(role, cast.dev, ["view"])
    person = Principal.objects.create_user("dev-person")
    add_member(person, role)
    everything = Resource.objects.all()
    assert set(visible_to(everything, cast.access("operator"))) == {here, there}
    assert set(visible_to(everything, access_for(person, cast.acme))) == {here}
    assert set(visible_to(everything, cast.access("outsider"))) == {foreign}
    assert not visible_to(everything, access_for(cast.outsider, cast.acme))


def test_the_delegation_chain_is_the_principal_and_who_it_answers_to(cast, django_assert_num_queries):
    assert delegation_chain(cast.agent) == {cast.agent.pk, cast.operator.pk}
    assert delegation_chain(cast.operator) == {cast.operator.pk}
    agent = Principal.objects.select_related("owner").get(pk=cast.agent.pk)
    with django_assert_num_queries(0):
        delegation_chain(agent)


def test_membership_leaves_an_event_and_says_so_once_it_is_committed(cast, django_capture_on_commit_callbacks):
    heard = []

    def hear(sender, principal_id, **_):
        heard.append(principal_id)

    roles_changed.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        assert add_member(cast.auditor, cast.roles["approver"], cast.admin)
        assert not add_member(cast.auditor, cast.roles["approver"], cast.admin)
        assert heard == []
    assert heard == [cast.auditor.pk]
    assert remove_member(cast.auditor, cast.roles["approver"], cast.admin)
    assert not remove_member(cast.auditor, cast.roles["approver"], cast.admin)
    events = Event.objects.filter(subject_id=cast.auditor.pk, actor=str(cast.admin.pk)).order_by("seq")
    assert [event.verb for event in events] == ["role.member_added", "role.member_removed"]
    assert not holds(cast.auditor, "approve", cast.acme)
    roles_changed.disconnect(hear)


def test_granting_sets_exactly_what_is_asked_and_leaves_before_and_after(cast):
    role = cast.roles["security"]
    grant(role, cast.acme, ["view"], cast.admin)
    grant(role, cast.acme, ["view"], cast.admin)
    assert not holds(cast.security, "approve", cast.prod)
    event = Event.objects.get(subject_id=cast.acme.pk, verb="role.granted", actor=str(cast.admin.pk))
    assert b'"after":["view"],"before":["approve","view"]' in bytes(event.body)

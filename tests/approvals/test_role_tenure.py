"""A role that was given after a request opened never fills its required approvals, however it was given."""

from datetime import timedelta

import pytest
from django.db import connection
from guardian.shortcuts import assign_perm

from approvals.errors import NotEligible
from approvals.models import Decision, GrantSince, MemberSince, Request, triggers
from approvals.quorum.role_holders import role_holders, role_holders_in
from approvals.requests.decisions import can_decide, decide, is_quorum_met
from audit.database.clock import database_time, uuid7
from tenants.access import access_for
from tenants.models import Environment, Principal
from tenants.roles import add_member, remove_member
from tests.approvals.scene import DIGEST, Scene, a_request, verbs

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]


def asked_before(scene: Scene, **fields) -> Request:
    """A request that opened a minute ago; everybody's roles are an hour old."""
    now = database_time()
    long_held()
    return a_request(scene, opened_at=now - timedelta(minutes=1), **fields)


def long_held() -> None:
    for table in (MemberSince, GrantSince):
        table.objects.update(since=database_time() - timedelta(hours=1))


def refused(scene: Scene, request: Request, who: str) -> bool:
    with pytest.raises(NotEligible):
        decide(request.pk, scene.access(who), approved=True, digest=DIGEST, comment="")
    assert not Decision.objects.filter(principal=getattr(scene.people, who)).exists()
    assert verbs(request) == [("approval.refused", "refused")]
    return not can_decide(request, scene.access(who))[0]


def by_role(scene: Scene, person: Principal) -> None:
    add_member(person, scene.roles["approver"])


def by_groups(scene: Scene, person: Principal) -> None:
    person.groups.add(scene.roles["approver"].group)


def by_bulk(scene: Scene, person: Principal) -> None:
    link = Principal.groups.through(principal_id=person.pk, group_id=scene.roles["approver"].group_id)
    Principal.groups.through.objects.bulk_create([link])


def by_grant(scene: Scene, person: Principal) -> None:
    role = scene.roles["auditor"]
    person.groups.add(role.group)
    long_held()
    assign_perm("approve", role.group, scene.prod)
    role.name, scene.roles["approver"].name = "approver", "other"
    scene.roles["approver"].save()
    role.save()


@pytest.mark.parametrize("give", [by_role, by_groups, by_bulk, by_grant])
def test_a_role_given_after_the_request_opened_does_not_count(scene, give):
    request = asked_before(scene)
    give(scene, scene.people.auditor if give is by_grant else scene.people.stranger)
    who = "auditor" if give is by_grant else "stranger"
    person = getattr(scene.people, who)
    assert person.pk in role_holders_in({scene.prod.pk: scene.tenant.pk})[scene.prod.pk]["approver"]
    assert refused(scene, request, who)


def test_it_counts_for_the_next_request(scene):
    asked_before(scene)
    by_role(scene, scene.people.stranger)
    later = a_request(scene)
    assert decide(later.pk, scene.access("stranger"), approved=True, digest=DIGEST, comment="").state == "open"


def test_who_lost_the_role_and_got_it_back_no_longer_counts(scene):
    request = asked_before(scene)
    person = scene.people.approver
    remove_member(person, scene.roles["approver"])
    add_member(person, scene.roles["approver"])
    assert refused(scene, request, "approver")


def test_an_approval_lapses_when_the_role_was_lost_and_got_back(scene):
    request = asked_before(scene, required_approvals=[{"role": "approver", "count": 1}])
    decide(request.pk, scene.access("approver"), approved=True, digest=DIGEST, comment="")
    request.refresh_from_db()
    assert is_quorum_met(request)
    remove_member(scene.people.approver, scene.roles["approver"])
    add_member(scene.people.approver, scene.roles["approver"])
    assert not is_quorum_met(request)


def test_who_was_switched_off_and_on_again_no_longer_counts(scene):
    request = asked_before(scene)
    Principal.objects.filter(pk=scene.people.approver.pk).update(is_active=False)
    Principal.objects.filter(pk=scene.people.approver.pk).update(is_active=True)
    assert refused(scene, request, "approver")


def test_a_grant_of_the_environment_after_the_request_opened_does_not_count(scene):
    lab = Environment.objects.create(tenant=scene.tenant, slug="lab", name="Lab")
    role = scene.roles["operator"]
    now = database_time()
    request = a_request(
        scene, [{"role": "operator", "count": 1}], environment=lab, subject_id=uuid7(), requester=scene.people.approver
    )
    long_held()
    Request.objects.filter(pk=request.pk).update(opened_at=now - timedelta(minutes=1))
    assign_perm("approve", role.group, lab)
    assert access_for(scene.people.operator, scene.tenant).role_in("operator", lab.pk)
    assert "operator" not in role_holders([Request.objects.get(pk=request.pk)])[request.pk]


def test_signing_in_changes_nothing(scene):
    request = asked_before(scene)
    person = scene.people.approver
    person.last_login = database_time()
    person.save()
    assert can_decide(request, scene.access("approver"))[0]


def test_the_triggers_are_there(db):
    """A migration that rebuilds a table on SQLite loses them."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        else:
            cursor.execute("SELECT tgname FROM pg_trigger")
        found = {row[0] for row in cursor.fetchall()}
    assert {name for name, *_ in triggers.role_tenure_triggers("now")} <= found

"""Who could fill the open required approvals, and in which order they are named."""

from datetime import timedelta

import pytest

from approvals.models import Decision
from approvals.quorum.count import count_quorum
from approvals.quorum.eligibility import suggested_approvers
from approvals.requests.decisions import decide
from audit.database.clock import database_time
from tests.approvals.scene import DIGEST, Scene, a_request

pytestmark = pytest.mark.django_db
APPROVALS = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]


def answered(scene: Scene, who: str, after_s: int, ago: timedelta = timedelta(days=1)) -> None:
    at = database_time() - ago
    request = a_request(scene, opened_at=at - timedelta(seconds=after_s), state="void", closed_at=at)
    Decision.objects.create(
        request=request, principal=getattr(scene.people, who), approved=True, role="approver", digest=DIGEST, at=at
    )


def named(scene: Scene, request, role: str) -> list[str]:
    by_pk = {person.pk: name for name, person in vars(scene.people).items()}
    return [by_pk[s.principal] for s in suggested_approvers(request, count_quorum(request)).get(role, [])]


def test_the_quick_come_first_and_the_unknown_last(scene):
    answered(scene, "approver2", 60), answered(scene, "approver", 600), answered(scene, "approver3", 5, timedelta(200))
    request = a_request(scene, APPROVALS)
    found = named(scene, request, "approver")
    assert found[:2] == ["approver2", "approver"] and set(found[2:]) == {"approver3", "both", "all_rounder"}
    assert set(named(scene, request, "security")) == {"security", "both"}
    first = suggested_approvers(request, count_quorum(request))["approver"][0]
    assert (first.decisions, first.median_s) == (1, 60) and first.last_at


def test_nobody_is_named_who_cannot_count(scene):
    request = a_request(scene, APPROVALS, requester=scene.people.all_rounder)
    decide(request.pk, scene.access("both"), approved=True, digest=DIGEST, comment="")
    found = suggested_approvers(request, count_quorum(request))
    assert "approver" in found or "security" in found
    everybody = {s.principal for people in found.values() for s in people}
    assert not everybody & {scene.people.all_rounder.pk, scene.people.both.pk, scene.people.boss.pk, scene.agent.pk}


def test_a_filled_or_settled_request_names_nobody(scene):
    request = a_request(scene, [{"role": "approver", "count": 1}])
    decide(request.pk, scene.access("approver"), approved=True, digest=DIGEST, comment="")
    request.refresh_from_db()
    assert suggested_approvers(request, count_quorum(request)) == {}

"""Fifty votes at the same moment on one request: never one too many, never one too few.

Some people vote several times at once, some hold two of the roles that are asked for, some hold none. Among them is
one person for each required approval, so all required approvals must be filled, each by one decision. What came of it
is read from the rows, the
announcement and the chain of events. On SQLite fewer people come: it has one writer, which does the locking.
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from approvals.models import Decision, Request
from approvals.requests.decisions import decide, is_quorum_met, request_decided
from audit.models import Event
from audit.verification.chain import verify_subject_chain
from tenants.models import Principal
from tests.approvals.scene import DIGEST, Scene, a_request, a_role, a_scene
from tests.races.crowd import at_once

VOTES = {"postgresql": 50, "sqlite": 12}
ROLES = ("approver", "security", "db-owners")
LAYOUTS = [
    [{"role": "approver", "count": 1}],
    [{"role": "approver", "count": 2}],
    [{"role": "approver", "count": 2}, {"role": "security", "count": 1}],
    [{"role": "approver", "count": 1}, {"role": "security", "count": 2}, {"role": "db-owners", "count": 1}],
    [{"role": "approver", "count": 3}, {"role": "security", "count": 1}, {"role": "db-owners", "count": 1}],
]


@pytest.fixture
def scene(transactional_db: None) -> Scene:
    scene = a_scene()
    scene.roles["db-owners"] = a_role(scene.tenant, "db-owners", "view", "approve")
    return scene


@pytest.fixture
def announced() -> Iterator[list[UUID]]:
    heard: list[UUID] = []

    def listen(sender: Any, *, request: Request, outcome: str, **kwargs: Any) -> None:
        transaction.on_commit(lambda: heard.append(request.pk))

    request_decided.connect(listen)
    yield heard
    request_decided.disconnect(listen)


def a_crowd(scene: Scene, roles_of_each: list[frozenset[str]]) -> list[Principal]:
    made = []
    for n, roles in enumerate(roles_of_each):
        person = Principal.objects.create_user(f"crowd-{Principal.objects.count()}-{n}")
        person.groups.add(*(scene.roles[role].group for role in roles))
        made.append(person)
    return made


@pytest.mark.parametrize(
    "required_approvals",
    LAYOUTS,
    ids=lambda required_approvals: f"{sum(s['count'] for s in required_approvals)} required approvals",
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fifty_votes_at_once_fill_exactly_the_approvals(scene, announced, required_approvals, seed):
    chance, votes = random.Random(seed), VOTES[connection.vendor]
    sure = [frozenset({required["role"]}) for required in required_approvals for _ in range(required["count"])]
    more = [frozenset(chance.sample(ROLES, chance.randint(0, 2))) for _ in range(votes * 3 // 5 - len(sure))]
    roles = [*sure, *more]
    people = a_crowd(scene, roles)
    access = [scene.access(person) for person in people]
    voters = [*access, *(chance.choice(access) for _ in range(votes - len(access)))]
    chance.shuffle(voters)
    request = a_request(scene, required_approvals)
    told = at_once([lambda a=a: decide(request.pk, a, approved=True, digest=DIGEST, comment="") for a in voters])
    needed = sum(required["count"] for required in required_approvals)
    request.refresh_from_db()
    assert len(told) == votes
    assert request.state == "approved" and announced == [request.pk] and is_quorum_met(request)
    kept = Counter(Decision.objects.filter(request=request).values_list("principal", flat=True))
    assert Counter(told)["ok"] == sum(kept.values()) == len(kept) == needed
    assert Counter(Decision.objects.filter(request=request).values_list("role", flat=True)) == Counter(
        {required["role"]: required["count"] for required in required_approvals}
    )
    assert set(told) <= {"ok", "settled", "already_decided", "not_eligible", "not_found"}
    granted = Event.objects.filter(subject_id=request.subject_id, verb="approval.granted")
    assert granted.count() == needed
    assert verify_subject_chain(scene.tenant.pk, "thing", request.subject_id).ok


@pytest.mark.parametrize(
    "required_approvals",
    LAYOUTS[1:3],
    ids=lambda required_approvals: f"{sum(s['count'] for s in required_approvals)} required approvals",
)
def test_votes_that_cannot_fill_every_approval_leave_it_open_with_all_that_can_sit(
    scene, announced, required_approvals
):
    """One short: all the people there are, each voting many times at once, and nobody is counted twice."""
    few = [frozenset({"approver"})] * (sum(s["count"] for s in required_approvals) - 1)
    access = [scene.access(person) for person in a_crowd(scene, few)]
    request, votes = a_request(scene, required_approvals), VOTES[connection.vendor]
    voters = [access[n % len(access)] for n in range(votes)]
    told = at_once([lambda a=a: decide(request.pk, a, approved=True, digest=DIGEST, comment="") for a in voters])
    request.refresh_from_db()
    assert request.state == "open" and announced == [] and not is_quorum_met(request)
    assert Counter(told) == {"ok": len(access), "already_decided": votes - len(access)}
    assert request.decisions.count() == len(access)

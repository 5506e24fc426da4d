"""Accepting a dry-run diff: only its requester, or who answers for it, and exactly that diff."""

import pytest

from approvals.errors import AlreadyDecided, DigestNeeded, NotEligible, StaleDigest, WrongRequestKind
from approvals.models import Decision, Request
from approvals.requests.decisions import accept, can_decide, is_quorum_met
from tests.approvals.scene import DIGEST, OTHER_DIGEST, a_request, verbs


@pytest.fixture
def request_(scene):
    return a_request(scene, [], kind="acceptance")


def test_the_requester_accepts_and_that_settles_it(scene, request_, signals):
    assert can_decide(request_, scene.access("operator")) == (True, "")
    assert not is_quorum_met(request_)
    done = accept(request_.pk, scene.access("operator"), digest=DIGEST)
    assert done.state == Request.objects.get().state == "approved" and is_quorum_met(done)
    assert signals == [(request_.pk, "approved", str(scene.people.operator.pk))]
    assert verbs(request_) == [("approval.accepted", "ok")]
    assert Decision.objects.get().role == "requester"


@pytest.mark.parametrize(("digest", "error"), [(OTHER_DIGEST, StaleDigest), (None, DigestNeeded)])
def test_accepting_needs_the_digest_that_was_shown(scene, request_, signals, digest, error):
    with pytest.raises(error):
        accept(request_.pk, scene.access("operator"), digest=digest)
    assert signals == [] and verbs(request_) == [] and Request.objects.get().state == "open"


@pytest.mark.parametrize("who", ["approver", "all_rounder", "security"])
def test_nobody_else_accepts_for_the_requester(scene, request_, who):
    assert can_decide(request_, scene.access(who))[0] is False
    with pytest.raises(NotEligible, match="Only its requester"):
        accept(request_.pk, scene.access(who), digest=DIGEST)
    assert verbs(request_) == [("approval.refused", "refused")] and Request.objects.get().state == "open"


def test_where_agents_only_recommend_the_owner_accepts_and_the_agent_does_not(scene):
    request = a_request(scene, [], kind="acceptance", requester=scene.agent)
    assert can_decide(request, scene.access(scene.agent))[1].startswith("In this environment agents only recommend")
    with pytest.raises(NotEligible, match="a person accepts"):
        accept(request.pk, scene.access(scene.agent), digest=DIGEST)
    assert verbs(request) == [("approval.refused", "refused")] and Request.objects.get().state == "open"
    assert accept(request.pk, scene.access("all_rounder"), digest=DIGEST).state == "approved"


def test_where_agents_may_act_an_agent_accepts_its_own_diff_and_so_may_its_owner(scene):
    scene.prod.settings = {"recommendation_only": False}
    scene.prod.save()
    for who in (scene.agent, scene.people.all_rounder):
        request = a_request(scene, [], kind="acceptance", requester=scene.agent)
        assert accept(request.pk, scene.access(who), digest=DIGEST).state == "approved"


def test_a_requester_who_may_no_longer_propose_cannot_accept(scene, request_):
    scene.people.operator.groups.set([scene.roles["auditor"].group])
    with pytest.raises(NotEligible, match="no longer propose"):
        accept(request_.pk, scene.access("operator"), digest=DIGEST)


def test_it_is_accepted_once(scene, request_):
    accept(request_.pk, scene.access("operator"), digest=DIGEST)
    with pytest.raises(AlreadyDecided):
        accept(request_.pk, scene.access("operator"), digest=DIGEST)


def test_accepting_fills_no_approval(scene):
    request = a_request(scene)
    with pytest.raises(WrongRequestKind, match="This request needs approvals"):
        accept(request.pk, scene.access("operator"), digest=DIGEST)
    assert Request.objects.get().state == "open"

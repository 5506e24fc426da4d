"""Deciding: exactly what was seen, by distinct people who may, once each, while it is open."""

from datetime import timedelta

import pytest
from django.db import transaction

from approvals.errors import (
    AlreadyDecided,
    CommentNeeded,
    DigestNeeded,
    NotEligible,
    RequestClosed,
    RequestExpired,
    StaleDigest,
    WrongRequestKind,
)
from approvals.models import Decision, Request
from approvals.requests.decisions import decide, request_decided
from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from audit.models import Event, PrivateValue
from tests.approvals.scene import DIGEST, OTHER_DIGEST, a_request, a_scene, verbs

pytestmark = pytest.mark.dialect

ONE_OF_EACH = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]


def approve(scene, request, who, **changes):
    sent = {"approved": True, "digest": DIGEST, "comment": "", **changes}
    return decide(request.pk, scene.access(who), **sent)


def reject(scene, request, who, comment="not today", **changes):
    return approve(scene, request, who, **{"approved": False, "digest": None, "comment": comment, **changes})


def test_the_last_approval_settles_the_request(scene, signals):
    request = a_request(scene)
    assert approve(scene, request, "approver").state == "open"
    assert signals == []
    done = approve(scene, request, "approver2", comment="looks good")
    request.refresh_from_db()
    assert (done.state, request.state) == ("approved", "approved") and request.closed_at is not None
    assert signals == [(request.pk, "approved", str(scene.people.approver2.pk))]
    assert verbs(request) == [("approval.granted", "ok"), ("approval.granted", "ok")]


def test_an_approval_is_recorded_with_what_and_as_whom_but_not_why_in_clear(scene):
    request = a_request(scene)
    decide(request.pk, scene.access("approver"), approved=True, digest=DIGEST, comment="sure", correlation_id="c-1")
    event = Event.objects.get(subject_id=request.subject_id)
    body = bytes(event.body).decode()
    assert (event.actor, event.correlation_id) == (str(scene.people.approver.pk), "c-1")
    assert (
        DIGEST in body and str(request.pk) in body and '"role":"approver"' in body and '"approvals_missing":1' in body
    )
    assert "sure" not in body and "commitment" in body
    assert bytes(PrivateValue.objects.get(subject_id=request.subject_id).value) == b"sure"
    decision = Decision.objects.get()
    assert (decision.role, decision.digest, decision.comment, decision.approved) == ("approver", DIGEST, "sure", True)


def test_one_rejection_settles_whatever_was_approved_before(scene, signals):
    request = a_request(scene)
    approve(scene, request, "approver")
    assert reject(scene, request, "approver2").state == "rejected"
    assert signals == [(request.pk, "rejected", str(scene.people.approver2.pk))]
    assert verbs(request)[-1] == ("approval.rejected", "ok")
    with pytest.raises(RequestClosed):
        approve(scene, request, "approver3")


def test_rejecting_needs_a_comment_but_no_fresh_digest(scene):
    request = a_request(scene)
    with pytest.raises(CommentNeeded) as error:
        reject(scene, request, "approver", comment="  \x00 ")
    assert error.value.status == 422 and error.value.extra["issues"][0]["field"] == "comment"
    assert not Decision.objects.exists() and verbs(request) == []
    assert reject(scene, request, "approver", digest=OTHER_DIGEST).state == "rejected"


@pytest.mark.parametrize(
    ("digest", "error"),
    [(OTHER_DIGEST, StaleDigest), (DIGEST.upper(), StaleDigest), ("", DigestNeeded), (None, DigestNeeded)],
)
def test_approving_needs_exactly_the_digest_that_is_asked_for(scene, digest, error):
    request = a_request(scene)
    with pytest.raises(error) as raised:
        approve(scene, request, "approver", digest=digest)
    assert not Decision.objects.exists() and verbs(request) == []
    if error is StaleDigest:
        assert (raised.value.status, raised.value.extra["current_digest"]) == (409, DIGEST)


def test_a_second_decision_by_the_same_person_is_refused(scene):
    request = a_request(scene)
    approve(scene, request, "approver")
    with pytest.raises(AlreadyDecided):
        approve(scene, request, "approver")
    with pytest.raises(AlreadyDecided):
        reject(scene, request, "approver")
    assert Decision.objects.count() == 1 and Request.objects.get().state == "open" and len(verbs(request)) == 1


@pytest.mark.parametrize("state", ["approved", "rejected", "expired", "void", "cancelled"])
@pytest.mark.parametrize("verb", [approve, reject])
def test_a_settled_request_takes_no_decision(scene, signals, state, verb):
    request = a_request(scene, state=state, closed_at=database_time())
    with pytest.raises(RequestClosed) as error:
        verb(scene, request, "approver")
    assert error.value.status == 409 and error.value.remedies
    assert not Decision.objects.exists() and signals == [] and verbs(request) == []


def test_a_request_whose_time_is_over_takes_no_decision_though_no_sweep_came(scene, signals):
    request = a_request(scene, expires_at=database_time() - timedelta(milliseconds=1))
    for verb in (approve, reject):
        with pytest.raises(RequestExpired) as error:
            verb(scene, request, "approver")
        assert error.value.status == 409 and error.value.remedies
    assert not Decision.objects.exists() and signals == [] and Request.objects.get().state == "open"


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("operator", "You are the requester"),
        ("stranger", None),
        ("auditor", "You may not approve in this environment"),
        ("security", "You have none of the required roles here: approver"),
        ("boss", None),
    ],
)
@pytest.mark.parametrize("verb", [approve, reject])
def test_who_may_not_decide_is_told_why_and_leaves_a_trace(scene, signals, who, why, verb):
    request = a_request(scene)
    with pytest.raises(NotEligible if why else NotFound) as error:
        verb(scene, request, who)
    assert not Decision.objects.exists() and signals == [] and Request.objects.get().state == "open"
    if not why:
        assert verbs(request) == []
        return
    assert error.value.status == 403 and why in error.value.detail and error.value.remedies
    assert verbs(request) == [("approval.refused", "refused")]
    event = Event.objects.get(subject_id=request.subject_id)
    assert event.actor == str(getattr(scene.people, who).pk) and why in bytes(event.body).decode()


def test_a_requester_with_every_role_still_cannot_approve_their_own(scene):
    request = a_request(scene, requester=scene.people.all_rounder)
    with pytest.raises(NotEligible, match="requesters cannot approve their own actions"):
        approve(scene, request, "all_rounder")
    assert verbs(request) == [("approval.refused", "refused")]


def test_an_agents_owner_cannot_approve_what_the_agent_requested(scene):
    request = a_request(scene, requester=scene.agent, excluded=[str(scene.agent.pk), str(scene.people.all_rounder.pk)])
    with pytest.raises(NotEligible, match="Your agent requested this"):
        approve(scene, request, "all_rounder")
    assert not Decision.objects.exists()


def test_an_agents_new_owner_cannot_approve_what_it_requested_before(scene):
    request = a_request(scene, requester=scene.agent)
    scene.agent.owner = scene.people.approver
    scene.agent.save()
    with pytest.raises(NotEligible, match="Your agent requested this"):
        approve(scene, request, "approver")
    assert approve(scene, request, "approver2").state == "open"


def test_agents_cannot_decide_not_even_by_the_roles_they_hold(scene):
    request = a_request(scene)
    for verb in (approve, reject):
        with pytest.raises(NotEligible, match="Agents cannot decide"):
            verb(scene, request, scene.agent)
    assert not Decision.objects.exists()


def test_a_superuser_with_a_role_counts_once_like_everybody(scene):
    scene.people.boss.groups.add(scene.roles["approver"].group)
    request = a_request(scene)
    assert approve(scene, request, "boss").state == "open"
    with pytest.raises(AlreadyDecided):
        approve(scene, request, "boss")


def test_a_token_without_the_scope_cannot_approve(scene):
    import dataclasses

    from tenants.models import ApiToken

    request = a_request(scene)
    person = scene.people.approver
    token = ApiToken.objects.create(
        tenant=scene.tenant,
        principal=person,
        name="read",
        prefix="12345678",
        hash="0" * 64,
        scopes=["view"],
        expires_at=database_time() + timedelta(days=1),
    )
    from tenants.access import access_for

    access = access_for(person, scene.tenant, token)
    with pytest.raises(NotEligible, match="This token may not approve"):
        decide(request.pk, access, approved=True, digest=DIGEST, comment="")
    assert not Decision.objects.exists() and dataclasses.is_dataclass(access)


def test_one_person_with_two_roles_fills_one_approval(scene):
    request = a_request(scene, ONE_OF_EACH)
    assert approve(scene, request, "both").state == "open"
    with pytest.raises(AlreadyDecided):
        approve(scene, request, "both")
    assert approve(scene, request, "approver").state == "approved"
    assert set(Decision.objects.values_list("principal__username", "role")) == {
        ("acme.both", "security"),
        ("acme.approver", "approver"),
    }


def test_a_approval_that_is_taken_is_not_filled_again_but_its_role_may_still_reject(scene):
    request = a_request(scene, ONE_OF_EACH)
    approve(scene, request, "approver")
    with pytest.raises(NotEligible, match="are filled") as error:
        approve(scene, request, "approver2")
    assert error.value.remedies == ["Still missing: 1 × security."]
    assert Decision.objects.count() == 1
    assert reject(scene, request, "approver2").state == "rejected"


def test_an_approval_by_somebody_who_lost_the_role_does_not_count(scene, signals):
    request = a_request(scene)
    approve(scene, request, "approver")
    scene.people.approver.groups.clear()
    assert approve(scene, request, "approver2").state == "open" and signals == []
    assert approve(scene, request, "approver3").state == "approved"


def test_an_approval_by_somebody_who_was_deactivated_does_not_count(scene):
    request = a_request(scene)
    approve(scene, request, "approver")
    scene.people.approver.is_active = False
    scene.people.approver.save()
    assert approve(scene, request, "approver2").state == "open"


def test_an_approval_by_somebody_who_came_to_own_the_requesting_agent_does_not_count(scene):
    request = a_request(scene, requester=scene.agent)
    approve(scene, request, "approver")
    scene.agent.owner = scene.people.approver
    scene.agent.save()
    assert approve(scene, request, "approver2").state == "open"


def test_a_role_held_elsewhere_fills_no_approval_here(scene):
    from tests.approvals.scene import a_role, grant

    local = a_role(scene.tenant, "dev-approver")
    grant(local, scene.dev, "view", "approve")
    grant(local, scene.prod, "view")
    scene.people.stranger.groups.add(local.group)
    required_approvals = [{"role": "dev-approver", "count": 1}]
    in_prod, in_dev = a_request(scene, required_approvals), a_request(scene, required_approvals, environment=scene.dev)
    with pytest.raises(NotEligible):
        approve(scene, in_prod, "stranger")
    assert approve(scene, in_dev, "stranger").state == "approved"


def test_a_request_of_another_tenant_is_as_unknown_as_one_that_never_was(scene):
    globex = a_scene("globex")
    request = a_request(globex)
    for missing in (request.pk, request.subject_id):
        with pytest.raises(NotFound):
            decide(missing, scene.access("approver"), approved=True, digest=DIGEST, comment="")
    assert verbs(request) == [] and not Decision.objects.exists()


def test_an_acceptance_is_not_decided_by_approvers(scene):
    request = a_request(scene, [], kind="acceptance")
    with pytest.raises(WrongRequestKind, match="accept the dry-run diff"):
        approve(scene, request, "approver")


def test_a_comment_has_a_bound(scene):
    with pytest.raises(Invalid, match="too long"):
        reject(scene, a_request(scene), "approver", comment="x" * 4_001)


def test_what_a_listener_refuses_is_not_decided(scene):
    request = a_request(scene, [{"role": "approver", "count": 1}])

    def refuse(sender, **kwargs):
        raise RuntimeError("the subject was not waiting")

    request_decided.connect(refuse)
    try:
        with pytest.raises(RuntimeError), transaction.atomic():
            approve(scene, request, "approver")
    finally:
        request_decided.disconnect(refuse)
    assert not Decision.objects.exists() and Request.objects.get().state == "open" and verbs(request) == []

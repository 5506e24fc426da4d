"""Ask for changes, and take back what one said."""

from datetime import timedelta

import pytest

from approvals.errors import (
    AlreadyDecided,
    AlreadyStarted,
    ChangesAlreadyRequested,
    CommentNeeded,
    NotEligible,
    NothingToWithdraw,
    RequestClosed,
    RequestExpired,
)
from approvals.models import ChangeRequest, Decision, Request
from approvals.requests.decisions import decide
from approvals.requests.withdraw import (
    approve_lapsed,
    change_requests_of,
    request_changes,
    request_reopened,
    withdraw_approval,
    withdraw_change_request,
)
from audit.errors import Invalid, NotFound
from tenants.models import Principal
from tests.approvals.scene import DIGEST, Scene, a_request, a_scene, verbs

pytestmark = pytest.mark.django_db
ONE = [{"role": "approver", "count": 1}]


def yes(scene: Scene, request: Request, who: str) -> Request:
    return decide(request.pk, scene.access(who), approved=True, digest=DIGEST, comment="")


def asked(scene: Scene, request: Request, who: str = "approver", comment: str = "rename it") -> Request:
    return request_changes(request.pk, scene.access(who), comment=comment)


def test_while_somebody_asks_for_changes_nothing_is_approved(scene, signals):
    request = a_request(scene, ONE)
    asked(scene, request)
    assert yes(scene, request, "approver2").state == "open" and not signals
    assert verbs(request) == [("approval.changes_requested", "ok"), ("approval.granted", "ok")]
    it = ChangeRequest.objects.get()
    assert (it.principal, it.comment, it.role, it.digest) == (scene.people.approver, "rename it", "approver", DIGEST)


def test_withdrawing_the_wish_approves_what_lacked_nothing_else(scene, signals):
    request = a_request(scene, ONE)
    asked(scene, request)
    yes(scene, request, "approver2")
    assert withdraw_change_request(request.pk, scene.access("approver")).state == "approved"
    assert signals == [(request.pk, "approved", str(scene.people.approver.pk))]
    assert verbs(request)[-1] == ("approval.change_request_withdrawn", "ok")


def test_withdrawing_it_earlier_approves_nothing(scene, signals):
    request = a_request(scene)
    asked(scene, request)
    assert withdraw_change_request(request.pk, scene.access("approver")).state == "open" and not signals
    with pytest.raises(NothingToWithdraw):
        withdraw_change_request(request.pk, scene.access("approver"))
    with pytest.raises(NothingToWithdraw):
        withdraw_change_request(request.pk, scene.access("approver2"))


def test_one_wish_of_two_is_enough_to_hold_it(scene):
    request = a_request(scene, ONE)
    asked(scene, request), asked(scene, request, "approver2")
    yes(scene, request, "approver3")
    assert withdraw_change_request(request.pk, scene.access("approver")).state == "open"
    assert withdraw_change_request(request.pk, scene.access("approver2")).state == "approved"


def leaves(scene: Scene) -> None:
    Principal.objects.filter(pk=scene.people.approver.pk).update(is_active=False)


def loses_the_role(scene: Scene) -> None:
    scene.people.approver.groups.clear()


def loses_and_regains_the_role(scene: Scene) -> None:
    scene.people.approver.groups.clear()
    scene.people.approver.groups.add(scene.roles["approver"].group)


def comes_to_answer_for_the_requester(scene: Scene) -> None:
    Principal.objects.filter(pk=scene.agent.pk).update(owner=scene.people.approver)


GONE = [leaves, loses_the_role, loses_and_regains_the_role, comes_to_answer_for_the_requester]


@pytest.mark.parametrize("goes", GONE)
def test_the_wish_of_somebody_who_may_no_longer_decide_holds_nothing(scene, signals, goes):
    request = a_request(scene, ONE, requester=scene.agent)
    it = asked(scene, request)
    assert [ask.counts for ask in change_requests_of(it)] == [True]
    goes(scene)
    assert [ask.counts for ask in change_requests_of(Request.objects.get())] == [False]
    assert yes(scene, request, "approver2").state == "approved"
    assert signals == [(request.pk, "approved", str(scene.people.approver2.pk))]
    assert [verb for verb, _ in verbs(request)] == [
        "approval.changes_requested",
        "approval.granted",
        "approval.change_request_lapsed",
    ]


@pytest.mark.parametrize("goes", GONE)
def test_what_only_a_lapsed_wish_held_is_approved_without_another_word(scene, signals, goes):
    request = a_request(scene, ONE, requester=scene.agent)
    asked(scene, request)
    assert yes(scene, request, "approver2").state == "open" and approve_lapsed() == 0
    goes(scene)
    assert (approve_lapsed(), approve_lapsed()) == (1, 0)
    assert signals == [(request.pk, "approved", "system:decide")]
    assert verbs(request)[-1] == ("approval.change_request_lapsed", "ok")


def test_a_lapsed_wish_gives_no_approval_away(scene, signals):
    incomplete, doubted, late = a_request(scene), a_request(scene, ONE), a_request(scene, ONE)
    for request in (incomplete, doubted, late):
        asked(scene, request)
        yes(scene, request, "approver2") if request != doubted else asked(scene, request, "approver3")
    yes(scene, doubted, "approver2")
    Request.objects.filter(pk=late.pk).update(expires_at=late.opened_at)
    leaves(scene)
    assert approve_lapsed() == 0 and not signals
    assert set(Request.objects.values_list("state", flat=True)) == {"open"}


def test_who_approved_and_left_takes_the_approval_along_when_the_wish_lapses(scene, signals):
    request = a_request(scene, ONE)
    asked(scene, request), yes(scene, request, "approver2")
    leaves(scene)
    scene.people.approver2.groups.clear()
    assert approve_lapsed() == 0 and not signals
    assert yes(scene, request, "approver3").state == "approved"


def test_where_no_wish_stands_looking_costs_one_query(scene, django_assert_num_queries):
    a_request(scene, ONE), a_request(scene)
    with django_assert_num_queries(1):
        assert approve_lapsed() == 0


def test_who_approves_no_longer_asks_for_changes(scene):
    request = a_request(scene, ONE)
    asked(scene, request)
    assert yes(scene, request, "approver").state == "approved"
    assert [verb for verb, _ in verbs(request)] == [
        "approval.changes_requested",
        "approval.change_request_withdrawn",
        "approval.granted",
    ]


def test_a_rejection_ends_it_whatever_is_asked(scene):
    request = a_request(scene)
    asked(scene, request)
    no = decide(request.pk, scene.access("approver2"), approved=False, digest=None, comment="no")
    assert no.state == "rejected"
    with pytest.raises(RequestClosed):
        withdraw_change_request(request.pk, scene.access("approver"))


@pytest.mark.parametrize("who", ["operator", "auditor", "security", "boss"])
def test_only_who_could_reject_may_ask(scene, who):
    request = a_request(scene)
    with pytest.raises((NotEligible, NotFound)):
        asked(scene, request, who)
    assert not ChangeRequest.objects.exists()


def test_an_agent_and_a_foreign_one_cannot_ask(scene):
    request, other = a_request(scene), a_scene("globex")
    with pytest.raises(NotEligible):
        request_changes(request.pk, scene.access(scene.agent), comment="x")
    assert verbs(request) == [("approval.refused", "refused")]
    with pytest.raises(NotFound):
        asked(other, request)


def test_what_an_ask_needs(scene):
    request = a_request(scene)
    with pytest.raises(CommentNeeded):
        asked(scene, request, comment=" \x00 ")
    with pytest.raises(Invalid):
        asked(scene, request, comment="x" * 4_001)
    asked(scene, request)
    with pytest.raises(ChangesAlreadyRequested):
        asked(scene, request)
    yes(scene, request, "approver2")
    with pytest.raises(AlreadyDecided):
        asked(scene, request, "approver2")
    late = a_request(scene, expires_at=request.opened_at - timedelta(seconds=1))
    with pytest.raises(RequestExpired):
        asked(scene, late)


def test_an_approval_taken_back_frees_its_approval_and_may_be_given_again(scene, signals):
    request = a_request(scene)
    yes(scene, request, "approver")
    assert withdraw_approval(request.pk, scene.access("approver"), comment="wait").state == "open"
    assert not Decision.objects.exists() and not signals
    assert verbs(request) == [("approval.granted", "ok"), ("approval.withdrawn", "ok")]
    yes(scene, request, "approver2")
    assert yes(scene, request, "approver").state == "approved"


def test_an_approved_request_opens_again_with_the_approvals_that_are_left(scene):
    request, heard = a_request(scene), []
    yes(scene, request, "approver"), yes(scene, request, "approver2")

    def listen(sender, *, request, by, ttl_s, **kwargs):
        heard.append((request.pk, by, ttl_s))

    request_reopened.connect(listen)
    try:
        now = withdraw_approval(request.pk, scene.access("approver"))
    finally:
        request_reopened.disconnect(listen)
    assert (now.state, now.closed_at) == ("open", None) and now.expires_at > request.expires_at
    assert heard == [(request.pk, str(scene.people.approver.pk), 86_400)]
    assert Decision.objects.get().principal == scene.people.approver2
    assert yes(scene, request, "approver3").state == "approved"


def test_what_has_begun_takes_nothing_back(scene):
    request = a_request(scene, ONE)
    yes(scene, request, "approver")

    def refuse(sender, **kwargs):
        raise AlreadyStarted

    request_reopened.connect(refuse)
    try:
        with pytest.raises(AlreadyStarted):
            withdraw_approval(request.pk, scene.access("approver"))
    finally:
        request_reopened.disconnect(refuse)
    request.refresh_from_db()
    assert request.state == "approved" and Decision.objects.count() == 1
    assert verbs(request) == [("approval.granted", "ok")]


def test_only_ones_own_approval_of_the_newest_request_can_be_taken_back(scene):
    request = a_request(scene, ONE)
    yes(scene, request, "approver")
    with pytest.raises(NothingToWithdraw):
        withdraw_approval(request.pk, scene.access("approver2"))
    with pytest.raises(NotFound):
        withdraw_approval(request.pk, a_scene("globex").access("approver"))
    a_request(scene, subject_id=request.subject_id)
    with pytest.raises(RequestClosed):
        withdraw_approval(request.pk, scene.access("approver"))
    rejected = a_request(scene)
    decide(rejected.pk, scene.access("approver"), approved=False, digest=None, comment="no")
    with pytest.raises(RequestClosed):
        withdraw_approval(rejected.pk, scene.access("approver"))

"""Counting: who may decide, who still counts, and at a fixed number of queries."""

from datetime import timedelta

import pytest

from approvals.models import Decision
from approvals.quorum.role_holders import role_holders, role_holders_in
from approvals.requests.decisions import can_decide, current_approvals, decide, is_quorum_met, quorums_met
from approvals.requests.quorum_context import quorum_context
from approvals.verdict import evaluate_matrix
from audit.database.clock import database_time
from tenants.access import holds
from tenants.roles import approving_roles
from tests.approvals.factory import TIERS, facts_of
from tests.approvals.scene import DIGEST, OTHER_DIGEST, a_request, a_role, a_scene, grant

APPROVALS = {
    "low": [{"role": "approver", "count": 1}],
    "medium": [{"role": "approver", "count": 2}],
    "high": [{"role": "approver", "count": 1}, {"role": "security", "count": 1}],
    "critical": [{"role": "approver", "count": 2}, {"role": "security", "count": 1}],
}


def approve(scene, request, who):
    return decide(request.pk, scene.access(who), approved=True, digest=DIGEST, comment="")


@pytest.mark.parametrize(
    ("tier", "people", "state"),
    [
        ("low", ["approver"], "approved"),
        ("low", ["both"], "approved"),
        ("low", ["boss", "operator", "security", "auditor"], "open"),
        ("medium", ["approver"], "open"),
        ("medium", ["approver", "security"], "open"),
        ("medium", ["approver", "approver2"], "approved"),
        ("medium", ["approver", "all_rounder"], "approved"),
        ("high", ["approver", "approver2"], "open"),
        ("high", ["both"], "open"),
        ("high", ["both", "approver"], "approved"),
        ("high", ["both", "security"], "approved"),
        ("high", ["approver", "security"], "approved"),
        ("critical", ["approver", "both"], "open"),
        ("critical", ["both", "approver", "security"], "approved"),
        ("critical", ["both", "approver", "approver2"], "approved"),
        ("critical", ["both", "security"], "open"),
        ("critical", ["security", "approver", "approver2"], "approved"),
    ],
)
def test_matrix_by_tier_by_people(scene, tier, people, state):
    verdict = evaluate_matrix(facts_of("dev", modifies=1, security_level=tier, matrix=APPROVALS))
    assert (verdict.tier, verdict.required_approvals) == (tier, APPROVALS[tier])
    request = a_request(scene, verdict.required_approvals)
    for who in people:
        if can_decide(request, scene.access(who))[0]:
            approve(scene, request, who)
    request.refresh_from_db()
    assert request.state == state
    assert is_quorum_met(request) is (state == "approved")


def test_every_tier_of_the_table_was_tried():
    assert set(APPROVALS) == set(TIERS)


def test_a_person_moves_to_another_approval_to_make_room_and_the_rows_say_so(scene):
    request = a_request(scene, APPROVALS["high"])
    approve(scene, request, "both")
    assert Decision.objects.get().role == "approver"
    approve(scene, request, "approver")
    required_approvals = current_approvals(request, list(request.decisions.all()))
    assert [(s["role"], [d.principal.username for d in s["by"]]) for s in required_approvals] == [
        ("approver", ["acme.approver"]),
        ("security", ["acme.both"]),
    ]
    assert Decision.objects.get(principal=scene.people.both).role == "security"


def test_a_quorum_lapses_when_one_of_its_people_loses_the_role(scene):
    request = a_request(scene)
    approve(scene, request, "approver")
    done = approve(scene, request, "approver2")
    assert is_quorum_met(done)
    scene.roles["approver"].group.user_set.remove(scene.people.approver)
    assert not is_quorum_met(done)


def test_a_decision_on_another_digest_fills_no_approval(scene):
    request = a_request(scene, APPROVALS["low"])
    Decision.objects.create(
        request=request,
        principal=scene.people.approver,
        approved=True,
        role="approver",
        digest=OTHER_DIGEST,
        at=database_time(),
    )
    assert not is_quorum_met(request)


def test_a_role_that_may_not_approve_here_fills_no_approval_though_its_people_may(scene):
    scene.people.operator.groups.add(scene.roles["approver"].group)
    operators = a_request(scene, [{"role": "operator", "count": 1}], requester=scene.people.security)
    assert can_decide(operators, scene.access("operator"))[0] is False
    assert can_decide(operators, scene.access("all_rounder"))[0] is False


def test_a_role_of_another_tenant_fills_no_approval_whatever_its_group_was_granted(scene):
    globex = a_scene("globex")
    for place in (scene.tenant, scene.prod):
        grant(globex.roles["approver"], place, "view", "approve")
    request = a_request(scene)
    assert role_holders([request])[request.pk]["approver"].isdisjoint(
        {globex.people.approver.pk, globex.people.both.pk}
    )


def test_many_quorums_are_counted_in_a_fixed_number_of_queries(scene, django_assert_max_num_queries):
    requests = [a_request(scene) for _ in range(6)] + [a_request(scene, [], kind="acceptance")]
    for request in requests[:3]:
        approve(scene, request, "approver")
        approve(scene, request, "approver2")
    fresh = [type(r).objects.get(pk=r.pk) for r in requests]
    with django_assert_max_num_queries(4):
        held = quorums_met(fresh)
    assert [held[r.pk] for r in requests] == [True] * 3 + [False] * 4
    with django_assert_max_num_queries(0):
        assert quorums_met([]) == {}


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("approver", ""),
        ("both", ""),
        ("operator", "You are the requester; requesters cannot approve their own actions."),
        ("security", "You have none of the required roles here: approver."),
        ("auditor", "You may not approve in this environment."),
    ],
)
def test_whether_one_can_decide_is_said_in_words(scene, who, why, django_assert_max_num_queries):
    request, access = a_request(scene), scene.access(who)
    with django_assert_max_num_queries(5):
        assert can_decide(request, access) == (not why, why)


def test_one_cannot_decide_twice_too_late_or_on_what_is_settled(scene):
    request, access = a_request(scene), scene.access("approver")
    approve(scene, request, "approver")
    assert can_decide(request, access) == (False, "You have already decided.")
    late = a_request(scene, expires_at=database_time() - timedelta(seconds=1))
    assert can_decide(late, access) == (False, "This request expired.")
    void = a_request(scene, state="void", closed_at=database_time())
    assert "plan changed" in can_decide(void, access)[1]


def test_the_panel_names_who_sits_who_could_and_whether_it_is_you(scene):
    request = a_request(scene, APPROVALS["critical"])
    approve(scene, request, "approver")
    shown = quorum_context(request, scene.access("approver2"))
    assert (shown["have"], shown["needed"], shown["can"], shown["is_complete"]) == (1, 3, True, False)
    approvers, security = shown["groups"]
    assert [required["name"] for required in approvers["filled"]] == ["Approver"]
    assert [required["is_yours"] for required in approvers["open"]] == [True]
    assert approvers["open"][0]["candidates"] == ["Approver3", "Both", "All Rounder"]
    assert [(s["is_yours"], s["candidates"]) for s in security["open"]] == [(False, ["Security", "Both"])]


def test_the_panel_tells_the_requester_why_not(scene):
    shown = quorum_context(a_request(scene), scene.access("operator"))
    assert shown["can"] is False and "You are the requester" in shown["why_not"]
    assert not any(required["is_yours"] for group in shown["groups"] for required in group["open"])


def test_the_panel_of_a_settled_request_shows_who_settled_it_whoever_left_since(scene):
    request = a_request(scene)
    approve(scene, request, "approver")
    done = approve(scene, request, "approver2")
    scene.people.approver.groups.clear()
    shown = quorum_context(done, scene.access("approver3"))
    assert (shown["have"], shown["is_complete"], shown["lapsed"]) == (2, True, [])


def test_the_panel_of_an_open_request_says_whose_approval_lapsed(scene):
    request = a_request(scene)
    approve(scene, request, "approver")
    scene.people.approver.groups.clear()
    shown = quorum_context(request, scene.access("approver2"))
    assert (shown["have"], shown["lapsed"]) == (0, ["Approver"])


def test_the_panel_renders_with_names_escaped(scene):
    from django.template.loader import render_to_string

    scene.people.approver.display_name = "<script>x</script>"
    scene.people.approver.save()
    request = a_request(scene)
    approve(scene, request, "approver")
    decide(request.pk, scene.access("approver2"), approved=False, digest=None, comment="<b>no</b>")
    request.refresh_from_db()
    page = render_to_string("approvals/_quorum.html", {"quorum": quorum_context(request, scene.access("approver3"))})
    assert 'id="quorum"' in page and "&lt;script&gt;" in page and "<script>" not in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page and "1 of 2" in page and "Rejected" in page


def test_the_panel_offers_an_open_approval_to_the_reader(scene):
    from django.template.loader import render_to_string

    page = render_to_string(
        "approvals/_quorum.html", {"quorum": quorum_context(a_request(scene), scene.access("both"))}
    )
    assert page.count("you can approve") == 1 and page.count("is-open") == 2
    assert "Approver, Approver2, Approver3 and 1 more" in page


def test_approvals_and_permissions_agree_on_who_may_approve_as_what(scene):
    local = a_role(scene.tenant, "dev-approver")
    grant(local, scene.dev, "view", "approve")
    scene.people.both.groups.add(local.group)
    everybody = [*vars(scene.people).values(), scene.agent]
    held = role_holders_in({place.pk: scene.tenant.pk for place in (scene.dev, scene.prod)})
    for place in (scene.dev, scene.prod):
        for role in (*scene.roles, local.name):
            may = {person.pk for person in everybody if holds(person, "approve", place, role=role)}
            assert held[place.pk].get(role, set()) == may, (place.slug, role)
        assert approving_roles(place) == {"approver", "security"} | ({local.name} if place == scene.dev else set())

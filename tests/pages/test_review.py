"""Review: may exactly this happen?"""

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.models import Action
from approvals.models import Decision, Request
from audit.models import Event
from tests.cast import Cast
from tests.pages.conftest import Propose, a_file


def page(client: Any, action: Action, more: str = "") -> str:
    answer = client.get(f"/actions/{action.pk}/{more}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_plan_is_shown_with_its_digest_diff_rules_and_undo(place: Cast, propose: Propose) -> None:
    action = propose("prod", title="Say hello", parameters=a_file("etc/hello.txt", "hello world\n"))
    assert action.plan is not None
    html = page(place.client("approver"), action)
    assert f'name="digest" value="{action.plan.digest}"' in html
    assert "<code>hello world</code>" in html and "hello.txt" in html
    assert "The approval matrix requires 2 × approver" in html
    assert "reversible" in html and "Open: you can approve" in html


def test_approving_fills_a_approval_and_leaves_an_event(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    assert action.plan is not None
    sent = {"decision": "approve", "digest": action.plan.digest, "comment": "looks right"}
    answer = place.client("approver").post(f"/actions/{action.pk}/decide/", sent)
    assert answer.status_code == 302 and answer["Location"] == f"/actions/{action.pk}/"
    made = Decision.objects.get()
    assert (made.principal, made.approved, made.comment) == (place.approver, True, "looks right")
    assert Event.objects.filter(subject_id=action.pk, verb="approval.granted").count() == 1
    assert Action.objects.get(pk=action.pk).state == "awaiting_approval"  # one of two
    html = page(place.client("approver2"), action)
    assert "looks right" in html and "approved plan" in html


def test_a_stale_form_is_refused_in_place_and_nothing_is_decided(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    sent = {"decision": "approve", "digest": "0" * 64, "comment": "typed with care"}
    headers = {"HX-Request": "true", "HX-Current-URL": f"http://testserver/actions/{action.pk}/"}
    answer = place.client("approver").post(f"/actions/{action.pk}/decide/", sent, headers=headers)
    assert answer.status_code == 409
    fragment = answer.content.decode()
    assert "The plan changed." in fragment and "<form" not in fragment  # the form stays as it was typed
    assert f'href="/actions/{action.pk}/"' in fragment
    assert not Decision.objects.exists()
    assert not Event.objects.filter(verb__in=["approval.granted", "approval.rejected"]).exists()


def test_rejecting_without_a_comment_says_what_is_missing(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    url, client = f"/actions/{action.pk}/decide/", place.client("approver")
    answer = client.post(url, {"decision": "reject", "comment": " "}, headers={"HX-Request": "true"})
    assert answer.status_code == 422 and "Give a reason for the rejection" in answer.content.decode()
    assert not Decision.objects.exists()
    client.post(url, {"decision": "reject", "comment": "no"})
    assert Action.objects.get(pk=action.pk).state == "rejected"
    assert "Propose again" not in page(client, action)  # an approver may not propose
    assert "Propose again" in page(place.client("operator"), action)


def test_the_requester_sees_why_they_cannot_decide(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    html = page(place.client("operator"), action)
    assert "requesters cannot approve their own actions" in html
    assert 'id="decide-form"' not in html
    assert "Withdraw this action" in html


def test_accepting_the_diff_clears_a_zero_approval_action(place: Cast, propose: Propose) -> None:
    action = propose("dev")
    assert action.plan is not None and Request.objects.get().kind == "acceptance"
    assert "Accept the diff and run" in page(place.client("operator"), action)
    assert "Accept the diff and run" not in page(place.client("approver"), action)
    place.client("operator").post(f"/actions/{action.pk}/accept/", {"digest": action.plan.digest})
    assert Action.objects.get(pk=action.pk).state == "approved"


def test_withdrawing_ends_it_and_says_so(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    answer = place.client("operator").post(f"/actions/{action.pk}/cancel/", {"reason": "not needed"}, follow=True)
    assert "Withdrawn" in answer.content.decode() and "not needed" in answer.content.decode()
    assert Action.objects.get(pk=action.pk).state == "cancelled"


def test_a_reopened_action_says_that_the_target_drifted(place: Cast, propose: Propose, carry: Any) -> None:
    from pathlib import Path

    from actions.commands.review import approve
    from actions.lifecycle.allowed import find_action

    root = Path(place.prod.root)
    (root / "a.txt").write_text("one\n")
    action = propose("prod", parameters=a_file("a.txt", "two\n", "modify"))
    for who in ("approver", "approver2"):
        approve(place.access(who), action.pk, True, action.plan.digest, "")
    (root / "a.txt").write_text("changed by hand\n")
    carry()
    action = find_action(place.access("operator"), action.pk)
    assert action.state == "awaiting_approval" and (root / "a.txt").read_text() == "changed by hand\n"
    html = page(place.client("approver"), action)
    assert "The target drifted after approval" in html and "a.txt" in html
    assert "0 of 2" in html


def test_a_page_that_shows_an_older_plan_is_told_so_in_place(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    fresh = page(place.client("approver"), action, f"live/?have={action.plan.digest}")
    assert "The plan changed.</b>" not in fresh and 'hx-target="#review-body"' not in fresh
    stale = page(place.client("approver"), action, f"live/?have={'0' * 64}")
    assert "The plan changed.</b>" in stale and 'hx-target="#review-body"' not in stale
    first = page(place.client("approver"), action, "live/?have=")
    assert 'hx-target="#review-body"' in first


def test_large_diffs_are_fetched_when_opened_and_many_changes_in_pages(place: Cast, propose: Propose) -> None:
    files = [{"path": f"f{k:03}.txt", "operation": "create", "content": "x\n"} for k in range(45)]
    files[0]["content"] = "".join(f"line {k}\n" for k in range(5_000))
    action = propose("prod", parameters={"changes": files})
    client = place.client("approver")
    html = page(client, action)
    assert html.count("data-viewed value") == 20 and "Show 25 more changes" in html
    assert "5000 changed lines" in html and "line 4999" not in html
    assert "line 4999" in page(client, action, f"changes/1/?digest={action.plan.digest}")
    more = page(client, action, f"changes/?digest={action.plan.digest}&after=40")
    assert more.count("data-viewed value") == 5 and "more change" not in more
    assert client.get(f"/actions/{action.pk}/changes/46/").status_code == 404
    assert client.get(f"/actions/{action.pk}/changes/1/?digest={'0' * 64}").status_code == 404


def test_one_view_is_rendered_and_remembered(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    client = place.client("approver")
    assert "diff--split" in page(client, action) and "diff--unified" not in page(client, action)
    client.cookies["il-diff"] = "unified"
    assert "diff--unified" in page(client, action) and "diff--split" not in page(client, action)


def test_the_page_costs_the_same_with_more_changes_and_events(place: Cast, propose: Propose) -> None:
    small = propose("prod", parameters=a_file("one.txt"))
    many = [{"path": f"m{k}.txt", "operation": "create", "content": "x\n"} for k in range(30)]
    large = propose("prod", parameters={"changes": many})
    client = place.client("approver")
    counts = []
    for action in (small, large):
        page(client, action)
        with CaptureQueriesContext(connection) as seen:
            page(client, action)
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 40

"""Comments on changes, in threads, through page and API."""

import json
from typing import Any

import pytest

from approvals.models import Comment
from approvals.requests import comments
from audit.models import Event, PrivateValue
from tests.api.conftest import Program
from tests.cast import Cast
from tests.pages.conftest import Propose

pytestmark = pytest.mark.django_db(transaction=True)
HX = {"HX-Request": "true"}


def verbs(action: Any) -> list[str]:
    found = Event.objects.filter(subject_id=action.pk, verb__startswith="comment.").order_by("seq")
    return list(found.values_list("verb", flat=True))


def test_a_comment_stands_next_to_its_change_and_may_be_answered_and_resolved(place: Cast, propose: Propose) -> None:
    action, client = propose("prod"), place.client("security")
    here = f"/actions/{action.pk}/comments/"
    sent = {"text": "why <script>?", "change": "1", "line": "1", "digest": action.plan.digest}
    answer = client.post(here, sent, headers=HX)
    assert answer.status_code == 200 and 'id="talk-1"' in answer.content.decode()
    assert "why &lt;script&gt;?" in answer.content.decode()
    made = Comment.objects.get()
    assert (made.author, made.change, made.line, made.digest) == (place.security, 1, 1, action.plan.digest)
    assert place.client("operator").post(here, {"text": "because", "reply_to": made.pk}).status_code == 302
    reply = Comment.objects.exclude(pk=made.pk).get()
    assert (reply.parent, reply.change, reply.digest) == (made, 1, made.digest)
    html = place.client("approver").get(f"/actions/{action.pk}/").content.decode()
    assert "because" in html and "1 open comment<" in html
    done = place.client("operator").post(f"{here}{made.pk}/resolve/", {"resolved": "yes"}, headers=HX)
    assert "resolved by Operator" in done.content.decode()
    assert "open comment" not in place.client("approver").get(f"/actions/{action.pk}/").content.decode()
    place.client("operator").post(f"{here}{made.pk}/resolve/", {"resolved": "no"})
    assert verbs(action) == ["comment.added", "comment.added", "comment.resolved", "comment.reopened"]


def test_who_only_reads_has_no_say(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    made = Program(place.api("approver")).post(f"/api/actions/{action.pk}/comments", {"text": "one"})[1]
    here = f"/actions/{action.pk}/comments/"
    assert place.client("auditor").post(here, {"text": "two"}).status_code == 403
    assert place.client("auditor").post(f"{here}{made['id']}/resolve/", {"resolved": "yes"}).status_code == 403
    page = place.client("auditor").get(f"/actions/{action.pk}/").content.decode()
    assert "one" in page and 'placeholder="Reply"' not in page
    assert Comment.objects.count() == 1 and verbs(action) == ["comment.added"]


def test_its_words_are_erasable_and_not_in_the_event(place: Cast, propose: Propose) -> None:
    action = propose("prod")
    Program(place.api("approver")).post(f"/api/actions/{action.pk}/comments", {"text": "Jane did it"})
    event = Event.objects.get(subject_id=action.pk, verb="comment.added")
    assert b"Jane" not in bytes(event.body) and "commitment" in json.loads(bytes(event.body))["facts"]["comment"]
    assert PrivateValue.objects.filter(value=b"Jane did it").exists()


def test_the_api_lists_makes_and_resolves(place: Cast, propose: Propose, monkeypatch) -> None:
    action, program = propose("prod"), Program(place.api("approver"))
    here = f"/api/actions/{action.pk}/comments"
    status, made = program.post(here, {"text": "one", "change": 1})
    assert status == 201 and made["change"] == 1 and made["author"]["username"] == "approver"
    assert program.post(here, {"text": "two", "reply_to": made["id"]})[0] == 201
    assert program.post(f"{here}/{made['id']}/resolve", {"resolved": True})[1]["resolved_at"]
    assert [c["text"] for c in program.get(here)[1]["items"]] == ["one", "two"]
    for body in ({"text": " "}, {"text": "x", "change": 9}, {"text": "x", "line": 3}, {"text": "x" * 4_001}):
        assert program.post(here, body)[0] == 422, body
    assert program.post(here, {"text": "x", "digest": "0" * 64})[0] == 404
    assert program.post(here, {"text": "x", "reply_to": str(action.pk)})[0] == 404
    monkeypatch.setattr(comments, "MAX_COMMENTS", 2)
    assert program.post(here, {"text": "x"})[1]["code"] == "too_many_comments"
    assert Comment.objects.count() == 2


def test_a_foreign_action_has_no_comments(place: Cast, propose: Propose) -> None:
    action, other = propose("prod"), Program(place.api("outsider"))
    assert other.post(f"/api/actions/{action.pk}/comments", {"text": "x"})[0] == 404
    assert other.get(f"/api/actions/{action.pk}/comments")[0] == 404
    assert place.client("outsider").post(f"/actions/{action.pk}/comments/", {"text": "x"}).status_code == 404
    assert not Comment.objects.exists()

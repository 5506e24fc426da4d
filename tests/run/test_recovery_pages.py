"""What pages and API show of recovery: the policy, a wait, what was left out, what stood in, breakers."""

import pytest
from django.test import Client

from actions.engine.sweep import propose_fallbacks
from actions.models import Action, CircuitBreaker, JournalEntry
from actions.types.protocol import Outcome
from tests.run.scripted import QUICK, asked, run, scripted, workers
from tests.run.test_skip_and_fallback import FALL_BACK, ODD, REPAIR, SKIP

pytestmark = pytest.mark.django_db(transaction=True)


def browser(cast, who="operator") -> Client:
    client = Client()
    client.force_login(getattr(cast, who), backend="django.contrib.auth.backends.ModelBackend")
    return client


def page(client, path) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return response.content.decode()


def test_the_review_says_what_is_done_about_failures(committed_cast):
    recovery = {"max_attempts": 4, "strategies": {"odd": "fallback"}, "fallback": {**REPAIR, "title": "Plan B"}}
    with scripted(shape={3: {"fallback_for": 2}, 1: {"may_skip": False}}):
        action = run(committed_cast, recovery=recovery)
        client = browser(committed_cast)
        text = page(client, f"/actions/{action.pk}/")
        api = client.get(f"/api/actions/{action.pk}").json()
        plan = client.get(f"/api/actions/{action.pk}/plan.json").json()
        words = client.get(f"/api/actions/{action.pk}/plan.md").content.decode()
    for text_of in (text, words):
        assert "A step is tried 4 times at most" in text_of and "Plan B is proposed as an action" in text_of
    assert "Step 3 runs only if step 2 fails" in text and "Never skipped: step 1." in text
    assert plan["recovery"] == api["plan"]["recovery"] and plan["recovery"]["max_attempts"] == 4
    assert [s["fallback_for"] for s in api["steps"]] == [None, None, "002:cell-2"]


def test_a_step_that_waits_says_when_it_is_tried_again(committed_cast):
    with scripted(fails={1: [Outcome(False, "busy", "No.", retryable=True)]}), workers() as (decide, execute):
        action = asked(committed_cast, steps=1, recovery={"delay_s": 600, "max_delay_s": 600})
        decide.drain()
        execute.drain()
        client = browser(committed_cast)
        (step,) = client.get(f"/api/actions/{action.pk}").json()["steps"]
        text = page(client, f"/actions/{action.pk}/run/")
    assert (step["state"], step["attempts"], step["retry_count"]) == ("waiting", 2, 1)
    assert step["next_try_at"] == JournalEntry.objects.filter(kind="intent").latest("id").facts["retry_at"][:23] + "Z"
    assert "Retry in" in text


def test_what_was_left_out_is_named(committed_cast):
    with scripted(fails={2: [ODD]}):
        action = run(committed_cast, recovery=SKIP)
        client = browser(committed_cast)
        api = client.get(f"/api/actions/{action.pk}").json()
        text = page(client, f"/actions/{action.pk}/run/")
    assert [s["state"] for s in api["steps"]] == ["done", "skipped", "done"]
    assert api["result"]["skipped"] == ["002:cell-2"] and api["result"]["success"]
    assert "Skipped:" in text and "Add to cell-2" in text


def test_an_action_and_what_it_fell_back_to_name_one_another(committed_cast):
    with scripted(fails={2: [ODD]}):
        first = run(committed_cast, recovery={**FALL_BACK, "fallback": REPAIR})
        propose_fallbacks()
        second = Action.objects.get(fallback_of=first)
        client = browser(committed_cast)
        links = [client.get(f"/api/actions/{a.pk}").json()["links"] for a in (first, second)]
        texts = [page(client, f"/actions/{first.pk}/{part}") for part in ("", "run/")]
        other = page(client, f"/actions/{second.pk}/")
    assert links[0]["fallbacks"] == [f"/api/actions/{second.pk}"]
    assert links[1]["fallback_of"] == f"/api/actions/{first.pk}"
    assert all(f"/actions/{second.pk}/" in text and "allback" in text for text in texts)
    assert f"/actions/{first.pk}/" in other


def test_the_form_asks_for_a_policy_and_keeps_it_for_the_next_proposal(committed_cast):
    client = browser(committed_cast)
    form = {
        "type": "ledger",
        "type_was": "ledger",
        "environment": "dev",
        "reason": "why",
        "parameters.steps": "1",
        "recovery.max_attempts": "6",
        "recovery.backoff": "linear",
        "recovery.strategies": '{"odd": "skip"}',
        "recovery.fallback.type": "",
        "do": "submit",
    }
    with scripted():
        assert "If a step fails" in page(client, "/actions/new/")
        refused = client.post("/actions/new/", {**form, "recovery.max_attempts": "60"})
        assert refused.status_code == 422 and b"60 is greater than the maximum of 10" in refused.content
        assert client.post("/actions/new/", form).status_code == 302
        made = Action.objects.get()
        assert made.recovery == {"max_attempts": 6, "backoff": "linear", "strategies": {"odd": "skip"}}
        assert 'value="6"' in page(client, f"/actions/new/?from={made.pk}")


def test_the_api_takes_a_policy_and_tells_what_is_wrong_with_it_by_field(committed_cast):
    client = browser(committed_cast)
    body = {"type": "ledger", "environment": "dev", "parameters": {"steps": 1}, "reason": "why"}
    with scripted():
        client.get("/actions/new/")
        headers = {"X-CSRFToken": client.cookies["csrftoken"].value} if "csrftoken" in client.cookies else {}
        bad = {**body, "recovery": {"delay_s": 9, "max_delay_s": 1, "strategies": {"policy": "skip"}}}
        answer = client.post("/api/actions", bad, content_type="application/json", headers=headers)
        assert answer.status_code == 422
        fields = {i["field"] for i in answer.json()["issues"]}
        assert fields == {"recovery.delay_s", "recovery.strategies.policy"}
        good = {**body, "recovery": QUICK}
        answer = client.post("/api/actions", good, content_type="application/json", headers=headers)
        assert answer.status_code == 201


def test_a_breaker_is_listed_says_what_waits_and_is_reset_on_the_page(committed_cast):
    down = Outcome(False, "http_503", "Down.", retryable=True)
    with scripted(fails={1: [down]}):
        for _ in range(6):
            waiting = run(committed_cast, steps=1, recovery={"max_attempts": 1})
        client = browser(committed_cast)
        shown = client.get(f"/api/actions/{waiting.pk}").json()
        assert any("breaker of ledger is open until" in words for words in shown["blocked_by"])
        assert "breaker of ledger" in page(client, f"/actions/{waiting.pk}/")
        (listed,) = client.get("/api/breakers").json()["items"]
        assert (listed["state"], listed["failures"], listed["environment"]) == ("open", 5, "dev")
        assert "http_503" in page(client, "/system/")
        assert f"/{listed['id']}/reset/" not in page(browser(committed_cast, "auditor"), "/system/")
        assert client.post(f"/system/breakers/{listed['id']}/reset/").status_code == 302
        assert CircuitBreaker.objects.get().state == "closed"
        assert client.get("/api/breakers").json()["items"] == []

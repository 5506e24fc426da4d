"""Run: is it safe, and how do I stop it?"""

import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from actions.models import Action, Plan
from tests.cast import Cast
from tests.pages.conftest import Propose, a_file


def page(client: Any, action: Action, more: str = "") -> str:
    answer = client.get(f"/actions/{action.pk}/run/{more}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_completed_run_shows_steps_log_and_verification(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True, checks=[{"kind": "file", "path": "notes.txt", "contains": "hello"}])
    assert action.state == "completed"
    html = page(place.client("operator"), action)
    assert "100<small>%</small>" in html and "1 of 1 step" in html
    assert "notes.txt: written" in html and "2 of 2 passed" in html
    assert "data-live" not in html.split("<main")[0]  # an ended run listens to nothing
    assert "Roll back" in html and "data-abort" not in html


def test_the_log_is_read_on_from_where_the_page_is(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True)
    client, base = place.client("operator"), f"/actions/{action.pk}/log"
    first = action.journal_entries.order_by("pk").first()
    assert first is not None
    rest = client.get(f"{base}?after={first.pk}&n=1").content.decode()
    assert 'data-n="2"' in rest and 'data-n="1"' not in rest
    last = action.journal_entries.order_by("pk").last()
    assert last is not None and client.get(f"{base}?after={last.pk}&n=9").status_code == 204
    text = client.get(f"/actions/{action.pk}/log.txt")
    assert text["Content-Disposition"].startswith("attachment") and b"written" in text.content


def test_rolling_back_a_completed_run_proposes_a_linked_action(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True)
    answer = place.client("operator").post(f"/actions/{action.pk}/rollback/", {"reason": "not good"})
    undo = Action.objects.get(undo_of=action)
    assert answer["Location"] == f"/actions/{undo.pk}/"
    assert Action.objects.get(pk=action.pk).state == "completed"


def test_a_failed_verification_shows_what_did_not_hold(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True, checks=[{"kind": "file", "path": "notes.txt", "contains": "goodbye"}])
    assert action.state == "rolled_back" and not (Path(place.dev.root) / "notes.txt").exists()
    html = page(place.client("operator"), action)
    assert "Checks failed: " in html and "1 of 2 passed" in html
    assert "undone" in html


def test_a_held_run_asks_an_operator_and_nobody_else(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True)
    Action.objects.filter(pk=action.pk).update(state="held", held_reason="rollback_failed", completed_at=None)
    html = page(place.client("operator"), action)
    assert "Retry the rollback" in html and 'id="held-form-' in html
    assert 'id="held-form-' not in page(place.client("auditor"), action)
    place.client("operator").post(f"/actions/{action.pk}/resume/", {"how": "give_up", "reason": "left as it is"})
    assert Action.objects.get(pk=action.pk).state == "failed"


def test_aborting_is_offered_while_it_runs_and_recorded_as_a_wish(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True, parameters=a_file("b.txt"))
    Action.objects.filter(pk=action.pk).update(state="in_progress", completed_at=None)
    client = place.client("operator")
    assert "data-abort" in page(client, action) and "data-live=" in page(client, action)
    client.post(f"/actions/{action.pk}/abort/", {"reason": "wrong window"})
    assert Action.objects.get(pk=action.pk).stop_requested_at is not None
    html = page(client, action)
    assert "data-abort" not in html and "Abort requested" in html and "wrong window" in html


def test_checks_that_are_still_to_come_are_named(place: Cast, propose: Propose) -> None:
    checks = [{"kind": "tcp", "host": "db.internal", "port": 5432}, {"kind": "http", "url": "http://app.internal/"}]
    action = propose("prod", checks=checks)
    html = page(place.client("operator"), action)
    assert "db.internal" in html and "http://app.internal/" in html
    assert "Not started" in html


def test_the_live_fragment_holds_everything_but_the_log(place: Cast, propose: Propose) -> None:
    action = propose("dev", accept=True)
    html = page(place.client("operator"), action, "live/")
    for target in ("run-head", "steps", "activity", "rail"):
        assert f'hx-target="#{target}"' in html and f'id="{target}"' in html
    assert 'id="log"' not in html


def test_what_steps_used_and_what_is_usual_are_shown(place: Cast, propose: Propose) -> None:
    for n in range(3):
        propose("dev", accept=True, parameters=a_file(f"{n}.txt"))
    action = propose("dev", accept=True, parameters=a_file("last.txt"))
    html = page(place.client("operator"), action)
    assert "Time and resources" in html and "1 attempt" in html and "Total</th>" in html
    Action.objects.filter(pk=action.pk).update(state="in_progress", started_at=Now(), completed_at=None)
    html = page(place.client("operator"), action)
    assert "data-left=" in html and "Last 3 similar runs: median" in html
    Action.objects.filter(pk=action.pk).update(started_at=Now() - timedelta(hours=1))
    assert "longer than usual" in page(place.client("operator"), action)
    first = propose("staging", parameters=a_file("first.txt"))
    assert "no history yet" in page(place.client("operator"), first)
    assert "no history yet" in place.client("operator").get(f"/actions/{first.pk}/").content.decode()


def test_a_step_that_waits_or_is_left_out_or_held_in_reserve_is_drawn(place: Cast, propose: Propose) -> None:
    changes = {"changes": [a_file(f"{n}.txt")["changes"][0] for n in range(3)]}
    action = propose("dev", accept=True, parameters=changes)
    assert action.plan is not None
    one, two, three = (s["key"] for s in action.plan.steps)
    steps = [*action.plan.steps[:2], {**action.plan.steps[2], "fallback_for": one}]
    Plan.objects.filter(pk=action.plan_id).update(steps=steps)
    Action.objects.filter(pk=action.pk).update(state="in_progress", completed_at=None)
    action.journal_entries.all().delete()
    at, later = action.started_at, timezone.now() + timedelta(minutes=5)
    for step, attempt, kind, facts in (
        (one, 1, "intent", {}),
        (one, 1, "failure", {"message": "not now"}),
        (two, 1, "skip", {"message": "not needed"}),
        (one, 2, "intent", {"retry_at": later.isoformat(), "wait_s": 300}),
    ):
        action.journal_entries.create(
            plan_id=action.plan_id, step=step, attempt=attempt, kind=kind, lease=0, at=at, facts=facts
        )
    html = page(place.client("operator"), action)
    assert "waiting to retry" in html and "skipped" in html and ">fallback<" in html
    assert "1 of 2 steps" in html and f"until {later:%H:%M:%S}, attempt 2" in html


def test_a_long_log_is_fetched_in_parts_and_beyond_that_only_when_asked_for(
    place: Cast, propose: Propose, monkeypatch: Any
) -> None:
    monkeypatch.setattr("actions.queries.run_view.MAX_CHARACTERS", 20)
    monkeypatch.setattr("actions.pages.action.run.MAX_UNASKED", 10)
    changes = {"changes": [a_file(f"{n}.txt")["changes"][0] for n in range(6)]}
    action = propose("dev", accept=True, parameters=changes)
    client = place.client("operator")
    html = page(client, action)
    assert 'hx-trigger="load"' in html
    tail = re.search(r'hx-get="([^"]*/log[?][^"]*)"', html)
    while tail and "Show more" not in html:
        html = client.get(unescape(tail[1])).content.decode()
        tail = re.search(r'hx-get="([^"]*/log[?][^"]*)"', html)
    assert 'hx-trigger="click from:#log-more"' in html

"""The switch over HTTP: its page, its API, and where people read of it."""

import pytest

from actions.commands import freeze
from actions.models import Freeze
from audit.models import Event
from tests.actions.factory import an_action

pytestmark = pytest.mark.django_db
WHY = {"reason": "the disk is failing"}


def post(client, path, body=WHY):
    return client.post(f"/api/environments/{path}", body, content_type="application/json")


def test_the_api_holds_and_releases(cast):
    client = cast.api("operator")
    assert client.get("/api/environments/prod/freeze").json()["held"] is False
    waiting = an_action(cast, "approved", environment=cast.prod)
    held = post(client, "prod/freeze").json()
    assert (held["held"], held["by"], held["reason"], held["waiting"]) == (True, "operator", WHY["reason"], 1)
    said = client.get(f"/api/actions/{waiting.pk}").json()["blocked_by"]
    assert len(said) == 1 and said[0].startswith("prod is frozen by ") and said[0].endswith(WHY["reason"])
    again = post(client, "prod/freeze")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")
    released = post(client, "prod/unfreeze").json()
    assert (released["held"], released["resumed"]) == (False, 0)
    assert post(client, "prod/unfreeze").status_code == 409
    assert post(client, "prod/freeze", {"reason": " "}).status_code == 422


def test_who_may_only_look_looks(cast):
    for who in ("approver", "auditor"):
        assert cast.api(who).get("/api/environments/prod/freeze").status_code == 200
        assert post(cast.api(who), "prod/freeze").status_code == 403
    assert post(cast.api("outsider"), "dev/freeze").status_code == 404
    assert not Freeze.objects.exists()


def test_the_page_holds_in_two_stages_and_says_what_that_does(cast):
    client = cast.client("operator")
    page = client.get("/environments/prod/").content.decode()
    assert "<summary>" in page and "Freeze now" in page and "stops at its next checkpoint" in page
    assert client.post("/environments/prod/freeze/", WHY).status_code == 302
    page = client.get("/environments/prod/").content.decode()
    assert "prod is frozen by" in page and WHY["reason"] in page and "Unfreeze now" in page
    assert "Freeze now" not in cast.client("auditor").get("/environments/prod/").content.decode()
    assert cast.client("outsider").get("/environments/dev/").status_code == 404
    assert client.post("/environments/prod/unfreeze/", WHY).status_code == 302
    verbs = Event.objects.filter(subject_kind="environment").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["environment.frozen", "environment.unfrozen"]


def test_the_queue_the_actions_and_the_system_page_tell_of_it(cast):
    freeze.freeze(cast.access("operator"), "dev", WHY["reason"])
    waits = an_action(cast, "approved", title="Mine")
    held = an_action(cast, "held", held_reason="freeze", started_at="2026-01-01T00:00Z")
    client = cast.client("operator")
    queue = client.get("/?tab=all").content.decode()
    assert "dev is frozen" in queue and WHY["reason"] in queue and "waiting: dev is frozen" in queue
    assert "environment frozen" in queue
    assert WHY["reason"] in client.get(f"/actions/{waits.pk}/").content.decode()
    run = client.get(f"/actions/{held.pk}/run/").content.decode()
    assert "/environments/dev/" in run and 'value="continue"' not in run
    system = client.get("/system/").content.decode()
    assert "dev is frozen" in system and "/environments/dev/" in system
    assert WHY["reason"] not in cast.client("outsider").get("/?tab=all").content.decode()

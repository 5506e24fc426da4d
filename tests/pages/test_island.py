"""A foreign action and an unknown one give the same status and body on every page, for every method."""

import re
from uuid import uuid4

import pytest

from actions.models import Action
from actions.pages.urls import urlpatterns
from audit.models import Event
from tests.cast import Cast
from tests.pages.conftest import Propose

OF_AN_ACTION = [p.name for p in urlpatterns if "action_id" in str(p.pattern) and getattr(p, "name", "")]
WRITES = {
    "decide",
    "accept",
    "cancel",
    "abort",
    "resume",
    "rollback",
    "retry",
    "withdraw",
    "withdraw_change_request",
    "comment",
    "resolve_comment",
}
CHANGING = re.compile(r'(correlation_id|X-Correlation-Id|csrfmiddlewaretoken" value=|il-now" content=)\W*"?[\w-]+')


def address(name: str, key: object) -> str:
    pattern = next(str(p.pattern) for p in urlpatterns if getattr(p, "name", "") == name)
    for part, filling in (("<uuid:action_id>", str(key)), ("<int:n>", "1"), ("<uuid:comment_id>", str(key))):
        pattern = pattern.replace(part, filling)
    return f"/{pattern}"


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize("name", OF_AN_ACTION)
def test_an_outsider_cannot_tell_a_foreign_action_from_none(
    place: Cast, propose: Propose, name: str, htmx: bool
) -> None:
    action = propose("prod")
    client = place.client("outsider")
    headers = {"HX-Request": "true"} if htmx else {}
    send = client.post if name in WRITES else client.get
    before = Event.objects.count()
    foreign, unknown = (send(address(name, key), headers=headers) for key in (action.pk, uuid4()))
    assert foreign.status_code == unknown.status_code == 404
    bodies = [CHANGING.sub("", answer.content.decode()) for answer in (foreign, unknown)]
    assert bodies[0] == bodies[1]
    assert Event.objects.count() == before
    assert Action.objects.get(pk=action.pk).state == "awaiting_approval"


@pytest.mark.parametrize("name", sorted(WRITES))
def test_what_changes_something_changes_nothing_by_get(place: Cast, propose: Propose, name: str) -> None:
    action, events = propose("dev"), Event.objects.count()
    answer = place.client("operator").get(address(name, action.pk))
    assert answer.status_code == (200 if name == "abort" else 405), "an abort is first shown, then confirmed"
    assert Action.objects.get(pk=action.pk).seq == action.seq and Event.objects.count() == events


def test_a_viewer_of_one_environment_does_not_see_the_others(place: Cast, propose: Propose) -> None:
    hidden = propose("prod", title="In prod only")
    from tenants.models import Principal
    from tenants.roles import add_member, create_role, grant

    role = create_role(place.acme, "dev-watcher")
    grant(role, place.dev, ["view"])
    watcher = Principal.objects.create_user("watcher")
    add_member(watcher, role)
    from django.test import Client

    client = Client()
    client.force_login(watcher, backend="django.contrib.auth.backends.ModelBackend")
    assert "In prod only" not in client.get("/?tab=all").content.decode()
    assert client.get(f"/actions/{hidden.pk}/").status_code == 404
    assert client.get("/actions/new/").status_code == 403

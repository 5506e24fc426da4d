"""Where the log goes: admins say it, auditors see it, everybody else neither."""

import re
from typing import Any

import pytest

from audit.models import Event
from audit.models.auditor import DeadLetter, Stream
from tests.cast import Cast

pytestmark = pytest.mark.django_db
PAGE = "/audit/streams/"
FORM = {"name": "siem", "kind": "webhook", "address": "https://siem.example/in", "verbs": "action. approval."}


def test_an_admin_begins_a_stream_and_sees_its_secret_once(cast: Cast) -> None:
    html = cast.client("admin").post(PAGE, FORM).content.decode()
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", html)
    assert secret and "siem.example" in html
    stream = Stream.objects.get()
    assert (stream.tenant, stream.verbs, stream.is_active) == (cast.acme.pk, ["action.", "approval."], True)
    assert secret[0] not in cast.client("admin").get(PAGE).content.decode()
    made = Event.objects.get(verb="stream.created")
    assert made.actor == str(cast.admin.pk) and b"siem.example" not in bytes(made.body)


def test_an_auditor_sees_streams_and_can_change_none(cast: Cast) -> None:
    cast.client("admin").post(PAGE, FORM)
    stream = Stream.objects.get()
    client = cast.client("auditor")
    html = client.get(PAGE).content.decode()
    assert "siem.example" in html and "stream-form" not in html and "Pause" not in html
    assert client.post(PAGE, FORM).status_code == 403
    for verb in ("pause", "resume", "remove", "resend", "renew-secret"):
        assert client.post(f"{PAGE}{stream.pk}/{verb}/").status_code == 403
    assert cast.client("operator").get(PAGE).status_code == 403
    assert Stream.objects.get().is_active


def test_what_is_wrong_is_said_beside_what_was_typed(cast: Cast) -> None:
    client = cast.client("admin")
    answer = client.post(PAGE, {**FORM, "name": "a b", "address": "ftp://x"})
    html = answer.content.decode()
    assert answer.status_code == 422 and 'value="ftp://x"' in html and html.count('aria-invalid="true"') == 2
    assert client.post(PAGE, FORM).status_code == 200
    assert client.post(PAGE, FORM).status_code == 409
    assert Stream.objects.count() == 1


def test_only_who_administers_the_installation_opens_its_own_network(cast: Cast) -> None:
    cast.operator.groups.add(cast.roles["admin"].group)
    body = {"name": "siem", "kind": "syslog", "address": "tcp://127.0.0.1:601", "allow_private": True}
    refused = cast.api("operator").post("/api/streams", body, content_type="application/json")
    assert refused.status_code == 403 and "installation" in refused.json()["detail"]
    assert cast.api("admin").post("/api/streams", body, content_type="application/json").status_code == 201


def test_it_is_paused_resumed_renewed_and_removed_with_an_event_each(cast: Cast) -> None:
    api = cast.api("admin")
    made = api.post("/api/streams", {**FORM, "verbs": ["action."]}, content_type="application/json").json()
    assert made["secret"].startswith("whsec_") and made["state"] == "live"
    at = f"/api/streams/{made['id']}"
    assert api.post(f"{at}/pause").status_code == 200
    (shown,) = api.get("/api/streams").json()["items"]
    assert shown["state"] == "paused" and shown["secret"] is None
    assert api.post(f"{at}/resume").status_code == 200
    renewed = api.post(f"{at}/renew-secret").json()["secret"]
    assert renewed.startswith("whsec_") and renewed != made["secret"]
    assert api.delete(at).status_code == 200 and not Stream.objects.exists()
    told = Event.objects.filter(subject_id=made["id"]).order_by("seq").values_list("verb", flat=True)
    ends = ["created", "paused", "resumed", "secret_renewed", "removed"]
    assert list(told) == [f"stream.{end}" for end in ends]


def test_what_still_is_not_taken_stays_given_up(cast: Cast) -> None:
    cast.client("admin").post(PAGE, {**FORM, "kind": "syslog", "address": "tcp://127.0.0.1:9"})
    stream = Stream.objects.get()
    DeadLetter.objects.create(stream=stream, first=0, last=0, events=1, fault="it answered 422")
    answer = cast.client("admin").get(PAGE)
    assert "1 dead letter<" in answer.content.decode() and "Send again" in answer.content.decode()


def test_another_tenants_stream_is_unknown(cast: Cast) -> None:
    cast.client("admin").post(PAGE, FORM)
    stream = Stream.objects.get()
    cast.outsider.groups.add(next(r for r in cast.globex.roles.all() if r.name == "admin").group)
    api = cast.api("outsider")
    answers: list[Any] = [api.post(f"/api/streams/{pk}/pause") for pk in (stream.pk, cast.acme.pk)]
    assert [a.status_code for a in answers] == [404, 404]
    assert api.get("/api/streams").json()["items"] == []

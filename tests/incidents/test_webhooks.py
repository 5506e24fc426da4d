"""What is sent to GitHub, GitLab, Jira and everybody else: shapes, signatures, tries, dead letters, and where to."""

import base64
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.db.models.functions import Now

from actions.commands import incidents
from actions.incidents import delivery, messages
from actions.incidents.worker import run_slice
from actions.models import Delivery, Webhook
from audit.errors import Conflict
from audit.models import Event
from tests.actions.running import verbs_of
from tests.incidents.conftest import fail, incident_of

SECRET, TOKEN = "a-secret-of-enough-characters", "a-token-canary"


class Receiver(ThreadingHTTPServer):
    """Keeps what it was sent, and answers with the statuses that a test lines up; 204 when there are none."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int | tuple[int, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        answer = self.server.answers.pop(0) if self.server.answers else 204
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def a_hook(cast: Any, url: str, kind: str = "generic", **fields: Any) -> Webhook:
    hook = Webhook(tenant=cast.acme, name=fields.pop("name", kind), kind=kind, **fields)
    messages.store_secrets(hook, url, SECRET, TOKEN)
    hook.save(force_insert=True)
    return hook


def again() -> None:
    """Let what waits for its next try have it now."""
    Delivery.objects.filter(state="due").update(next_at=Now())
    run_slice()


def test_interlocks_own_message_is_signed_and_says_all_there_is(cast, receiver):
    a_hook(cast, f"{receiver.url}/in?x=1")
    incident = incident_of(fail(cast, title="Grow the disk"))
    (path, headers, body), *rest = receiver.got
    assert path == "/in?x=1" and not rest
    told = json.loads(body)
    assert (told["format"], told["event"], told["environment"]) == ("interlock.incident/1", "opened", "dev")
    assert told["incident"] | {"id": str(incident.pk), "assignee": "operator", "code": "io"} == told["incident"]
    assert told["evidence"]["diagnostics_sha256"] == incident.evidence != ""
    assert [s["key"] for s in told["next_steps"]] == ["diagnose", "retry"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["x-hub-signature-256"] == f"sha256={hmac.new(SECRET.encode(), body, sha256).hexdigest()}"
    assert TOKEN.encode() not in body and SECRET.encode() not in body


def test_every_event_of_a_incident_is_told_in_turn(cast, receiver):
    a_hook(cast, receiver.url)
    incident = incident_of(fail(cast))
    operator = cast.access("operator")
    incidents.assign(operator, incident.pk, "approver")
    incidents.acknowledge(cast.access("approver"), incident.pk)
    incidents.resolve(operator, incident.pk)
    run_slice()
    assert [json.loads(b)["event"] for _, _, b in receiver.got] == ["opened", "assigned", "acknowledged", "resolved"]
    assert json.loads(receiver.got[-1][2])["incident"]["state"] == "resolved"


@pytest.mark.parametrize(
    ("kind", "members", "header"),
    [
        ("github_dispatch", {"event_type", "client_payload"}, ("authorization", f"Bearer {TOKEN}")),
        ("github_issue", {"title", "body", "labels"}, ("authorization", f"Bearer {TOKEN}")),
        ("gitlab_issue", {"title", "description", "labels"}, ("private-token", TOKEN)),
        ("jira", {"summary", "description", "labels", "interlock"}, ("x-automation-webhook-token", TOKEN)),
    ],
)
def test_each_tracker_gets_what_its_own_interface_takes(cast, receiver, kind, members, header):
    a_hook(cast, receiver.url, kind)
    incident = incident_of(fail(cast, title="Tell @everybody `now` <b>"))
    incidents.resolve(cast.access("operator"), incident.pk)
    run_slice()
    ((_, headers, body), *more) = receiver.got
    assert headers[header[0]] == header[1]
    told = json.loads(body)
    assert told.keys() == members
    if kind == "github_dispatch":
        assert len(told["client_payload"]) <= 10 and len(told["event_type"]) <= 100 and len(more) == 1
        assert told["client_payload"]["incident"]["id"] == str(incident.pk)
    else:
        assert not more, "one issue per incident"
        text = told.get("body") or told["description"]
        assert text.startswith("    “Tell @everybody"), "in code, where it calls nobody"
        assert f"/incidents/{incident.pk}/" in text and incident.evidence in text


def test_what_fails_is_tried_again_as_the_same_message(cast, receiver):
    a_hook(cast, receiver.url)
    receiver.answers = [503, (429, {"Retry-After": "7"})]
    incident = incident_of(fail(cast))
    waiting = Delivery.objects.get(incident=incident, channel="webhook")
    assert (waiting.state, waiting.attempts) == ("due", 1) and "503" in waiting.error
    again(), again()
    assert [h["webhook-id"] for _, h, _ in receiver.got] == [str(waiting.pk)] * 3
    assert len({body for _, _, body in receiver.got}) == 1
    waiting.refresh_from_db()
    assert (waiting.state, waiting.attempts, waiting.error) == ("sent", 3, "")
    assert verbs_of(incident.action).count("incident.notified") == 2, "a mail and a webhook"


def test_what_is_given_up_is_seen_and_can_be_sent_again(cast, receiver):
    a_hook(cast, receiver.url)
    receiver.answers = [404]
    incident = incident_of(fail(cast))
    dead = Delivery.objects.get(incident=incident, channel="webhook")
    assert dead.state == "failed", "a second try would not change a 404"
    event = Event.objects.get(subject_id=incident.action_id, verb="incident.notification_failed")
    assert event.outcome == "failed" and str(dead.pk) in bytes(event.body).decode()
    incidents.send_again(cast.access("operator"), incident.pk, dead.pk)
    with pytest.raises(Conflict):
        incidents.send_again(cast.access("operator"), incident.pk, dead.pk)
    run_slice()
    assert Delivery.objects.get(pk=dead.pk).state == "sent"
    assert receiver.got[0][2] == receiver.got[1][2]


def test_one_that_hangs_keeps_none_of_the_others_waiting(cast, receiver, monkeypatch):
    monkeypatch.setattr(delivery, "SEND_S", 1.0)
    silent = socket.create_server(("127.0.0.1", 0))
    a_hook(cast, f"http://127.0.0.1:{silent.getsockname()[1]}/", name="silent")
    a_hook(cast, receiver.url)
    incident = incident_of(fail(cast))
    states = dict(Delivery.objects.filter(incident=incident).values_list("error", "state"))
    assert states == {"": "sent", "no answer within 1 s": "due"} and len(receiver.got) == 1
    silent.close()


def test_after_eight_tries_it_is_given_up(cast, receiver):
    a_hook(cast, receiver.url)
    receiver.answers = [500] * 20
    incident = incident_of(fail(cast))
    for _ in range(10):
        again()
    assert len(receiver.got) == 8
    assert Delivery.objects.get(incident=incident, channel="webhook").state == "failed"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]:9/",
        "http://2130706433:9/",
        "http://[64:ff9b::7f00:1]:9/",
        "http://localhost:9/",
    ],
)
def test_nobody_is_told_where_nobody_may_look(cast, receiver, url):
    cast.dev.settings = {}
    cast.dev.save()
    a_hook(cast, url.replace(":9/", f":{receiver.server_port}/"))
    incident = incident_of(fail(cast))
    refused = Delivery.objects.get(incident=incident, channel="webhook")
    assert refused.state == "due" and ("address" in refused.error or "reserved" in refused.error)
    assert not receiver.got


def test_a_redirect_is_not_followed(cast, receiver):
    a_hook(cast, receiver.url)
    receiver.answers = [(302, {"Location": f"{receiver.url}/elsewhere"})]
    incident_of(fail(cast))
    assert [path for path, _, _ in receiver.got] == ["/"]


def test_an_environments_webhook_hears_of_that_environment_only(cast, receiver):
    a_hook(cast, receiver.url, environment=cast.prod)
    incident_of(fail(cast))
    assert not receiver.got
    cast.prod.settings = {"allow_private_targets": True}
    cast.prod.save()
    incident_of(fail(cast, environment=cast.prod))
    assert [json.loads(b)["environment"] for _, _, b in receiver.got] == ["prod"]


def test_what_is_hidden_opens_for_its_own_webhook_alone(cast):
    first, second = a_hook(cast, "https://a.example/x"), a_hook(cast, "https://b.example/y", name="other")
    assert messages.decrypt_secrets(first) == {"url": "https://a.example/x", "secret": SECRET, "token": TOKEN}
    assert SECRET.encode() not in bytes(first.hidden) and first.host == "a.example"
    second.hidden = first.hidden
    with pytest.raises(Exception, match="cannot be decrypted"):
        messages.decrypt_secrets(second)


@pytest.mark.parametrize(
    ("kind", "url", "secret", "token", "field"),
    [
        ("generic", "ftp://a.example/", SECRET, "", "url"),
        ("generic", "https://me:pw@a.example/", SECRET, "", "url"),
        ("generic", "https://a.example/", "short", "", "secret"),
        ("github_issue", "https://api.github.com/repos/o/r/issues", "", "", "token"),
        ("jira", "https://a.example/", "", "line\nbreak", "token"),
        ("generic", "https://a.example/", SECRET, "", ""),
    ],
)
def test_what_cannot_work_is_said_before_it_is_kept(kind, url, secret, token, field):
    assert messages.check_webhook(kind, url, secret, token)[0] == field

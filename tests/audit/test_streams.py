"""Streams: what is sealed is sent on in the log's order, at least once; what cannot be sent is never silently lost."""

import base64
import hashlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now

from audit.auditor.streams import delivery
from audit.auditor.streams.delivery import deliver_due, resend, resume
from audit.auditor.streams.sinks import (
    SealedEvent,
    address_fault,
    new_secret,
    read_secret,
    rewrap_secrets,
    stream_file,
    syslog_line,
    webhook_signature,
)
from audit.database import clock
from audit.log.canonical_json import canonical
from audit.log.events import append_events, read_chain_heads, record
from audit.models import Event
from audit.models.auditor import DeadLetter, Stream
from audit.models.seals import Leaf
from audit.seals.keys import signing_key
from audit.seals.sealer import seal_all
from tests.audit.cast import TENANT, a_subject, an_entry
from tests.support.mailbox import running

pytestmark = pytest.mark.django_db


class Receiver(BaseHTTPRequestHandler):
    """Takes batches, unless the test's `answer` for these verbs says otherwise."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = server.answer([event["data"]["verb"] for event in json.loads(body)])
        server.heard.append((status, dict(self.headers), body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads, server.heard, server.answer = True, [], lambda verbs: 202
    with running(server):
        yield server


def a_stream(kind: str, address: str = "", **more: Any) -> Stream:
    signing_key(TENANT)
    seal_all()  # the key's own event is in the log before the stream begins
    position = Leaf.objects.filter(tenant=TENANT).count()
    stream = Stream(
        tenant=TENANT, name=f"to-{kind}", kind=kind, address=address, allow_private=True, position=position, **more
    )
    new_secret(stream)
    stream.save()
    return stream


def webhook(receiver: Any, **more: Any) -> Stream:
    return a_stream("webhook", f"http://127.0.0.1:{receiver.server_port}/hook", **more)


def sealed(*verbs: str) -> list[Event]:
    """Events with these verbs, each of a subject of its own, in the log."""
    for verb in verbs:
        record(an_entry(a_subject(), verb))
    seal_all()
    return in_order()


def in_order() -> list[Event]:
    """What the stream is to hear of."""
    ids = Leaf.objects.filter(tenant=TENANT, log_index__gte=1).order_by("log_index").values_list("event_id", flat=True)
    found = Event.objects.in_bulk(ids)
    return [found[pk] for pk in ids]


def is_due(stream: Stream) -> None:
    Stream.objects.filter(pk=stream.pk).update(next_at=Now() - timedelta(seconds=1))


def told(receiver: Any) -> list[str]:
    return [e["data"]["verb"] for status, _, body in receiver.heard if status == 202 for e in json.loads(body)]


def test_a_webhook_gets_cloud_events_signed_and_in_the_logs_order(receiver: Any) -> None:
    stream = webhook(receiver)
    events = sealed("thing.made", "thing.changed", "thing.gone")
    assert deliver_due() == 1
    ((_, headers, body),) = receiver.heard
    batch = json.loads(body)
    assert [e["logindex"] for e in batch] == ["1", "2", "3"]
    assert [e["type"] for e in batch] == ["interlock.thing.made", "interlock.thing.changed", "interlock.thing.gone"]
    assert {e["specversion"] for e in batch} == {"1.0"} and len({e["id"] for e in batch}) == 3
    for told_event, event in zip(batch, events, strict=True):
        assert hashlib.sha256(canonical(told_event["data"])).hexdigest() == told_event["hash"]
        assert told_event["hash"] == bytes(event.hash).hex()
    at = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == webhook_signature(read_secret(stream), headers["webhook-id"], at, body)
    assert deliver_due() == 0, "what was taken is not sent again"


def test_only_sealed_events_and_only_the_verbs_asked_for_are_sent(receiver: Any) -> None:
    webhook(receiver, verbs=["thing.c", "other."])
    record(an_entry(a_subject(), "thing.changed"))
    assert deliver_due() == 0
    sealed("thing.made", "other.made")
    deliver_due()
    assert told(receiver) == ["thing.changed", "other.made"]


def test_a_long_backlog_goes_in_batches_that_no_receiver_chokes_on(receiver: Any, monkeypatch) -> None:
    webhook(receiver)
    subject = a_subject()
    entries = [an_entry(subject, f"thing.n{n}") for n in range(250)]
    append_events(entries, read_chain_heads([subject.id]), clock.database_time())
    seal_all()
    monkeypatch.setattr(delivery, "MAX_BATCH_BYTES", 20_000)
    deliver_due()
    assert told(receiver) == [f"thing.n{n}" for n in range(250)]
    assert all(len(body) < 60_000 for *_, body in receiver.heard)


def test_a_receiver_that_is_away_gets_everything_when_it_is_back(receiver: Any) -> None:
    stream = webhook(receiver)
    sealed("thing.made")
    receiver.answer = lambda verbs: 503
    deliver_due()
    stream.refresh_from_db()
    assert stream.failures == 1 and "503" in stream.fault and stream.position == 1
    assert deliver_due() == 0, "it is left alone for a while"
    sealed("thing.changed")
    receiver.answer = lambda verbs: 202
    is_due(stream)
    deliver_due()
    stream.refresh_from_db()
    assert told(receiver) == ["thing.made", "thing.changed"]
    assert (stream.failures, stream.fault, stream.sent) == (0, "", 2)


def test_what_the_receiver_refuses_is_given_up_event_by_event_and_the_rest_arrives(receiver: Any) -> None:
    stream = webhook(receiver)
    sealed("thing.made", "thing.bad", "thing.gone")
    receiver.answer = lambda verbs: 422 if "thing.bad" in verbs else 202
    for _ in range(3):
        is_due(stream)
        deliver_due()
    assert told(receiver) == ["thing.made", "thing.gone"]
    letter = DeadLetter.objects.get()
    assert (letter.first, letter.last, letter.events) == (2, 2, 1) and "422" in letter.fault
    gave_up = Event.objects.get(verb="stream.abandoned")
    assert gave_up.outcome == "failed" and gave_up.subject_id == stream.pk
    receiver.answer = lambda verbs: 202
    stream.refresh_from_db()
    assert resend(stream, letter, "somebody") == 1 and told(receiver)[-1] == "thing.bad"
    assert Event.objects.filter(verb="stream.resent").count() == 1


def test_after_a_day_without_an_answer_the_batch_is_left_to_the_dead_letters(receiver: Any) -> None:
    stream = webhook(receiver, failures=delivery.MAX_ATTEMPTS - 1)
    sealed("thing.made")
    receiver.answer = lambda verbs: 500
    deliver_due()
    stream.refresh_from_db()
    assert DeadLetter.objects.count() == 1 and stream.position == 2


def test_a_receiver_that_is_gone_is_paused_until_somebody_resumes_it(receiver: Any) -> None:
    stream = webhook(receiver)
    sealed("thing.made")
    receiver.answer = lambda verbs: 410
    deliver_due()
    stream.refresh_from_db()
    assert not stream.is_active and Event.objects.filter(verb="stream.paused").count() == 1
    receiver.answer = lambda verbs: 202
    resume(stream, "somebody")
    deliver_due()
    assert told(receiver) == ["thing.made"]


def test_an_address_inside_is_not_asked_unless_the_stream_may(receiver: Any) -> None:
    stream = webhook(receiver)
    Stream.objects.update(allow_private=False)
    sealed("thing.made")
    deliver_due()
    stream.refresh_from_db()
    assert not receiver.heard and "loopback or private" in stream.fault


def test_a_file_has_every_event_once_also_when_its_writer_died(settings: Any) -> None:
    stream = a_stream("file")
    events = sealed("thing.made")
    deliver_due()
    path = stream_file(TENANT, "to-file")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"log_index":2,"ha')  # a worker died while it wrote
    events = sealed("thing.changed")
    is_due(stream)
    deliver_due()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["log_index"] for line in lines] == [1, 2]
    assert [line["hash"] for line in lines] == [bytes(e.hash).hex() for e in events]
    assert path.read_bytes().startswith(whole)
    path.write_bytes(b"")  # moved away by a log rotation
    sealed("thing.gone")
    is_due(stream)
    deliver_due()
    assert [json.loads(line)["event"]["verb"] for line in path.read_bytes().splitlines()] == ["thing.gone"]


def test_a_file_is_never_written_through_a_link(tmp_path: Any) -> None:
    stream = a_stream("file")
    path = stream_file(TENANT, "to-file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    try:
        sealed("thing.made")
        deliver_due()
        stream.refresh_from_db()
        assert stream.failures == 1 and not (tmp_path / "elsewhere").exists()
    finally:
        path.unlink()


@pytest.fixture
def collector() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A syslog server over TCP: its port, and everything it was told so far once it was told something."""
    heard, there = bytearray(), threading.Event()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            heard.extend(self.rfile.read())
            there.set()

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
    server.daemon_threads = True

    def said() -> bytes:
        assert there.wait(10)
        return bytes(heard)

    with running(server):
        yield server.server_address[1], said


def test_syslog_over_tcp_is_framed_by_octets(collector: tuple[int, Callable[[], bytes]]) -> None:
    port, said = collector
    a_stream("syslog", f"tcp://127.0.0.1:{port}")
    first, second = sealed("thing.made", "thing.changed")
    deliver_due()
    rest, lines = said(), []
    while rest:
        length, _, rest = rest.partition(b" ")
        lines.append(rest[: int(length)].decode())
        rest = rest[int(length) :]
    assert len(lines) == 2 and lines[0].startswith("<109>1 2")
    assert f'hash="{bytes(first.hash).hex()}"' in lines[0] and f'hash="{bytes(second.hash).hex()}"' in lines[1]
    assert "thing.changed by system:setup: ok" in lines[1]


def test_syslog_over_udp_is_a_datagram_each() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.settimeout(5)
        a_stream("syslog", f"udp://127.0.0.1:{heard.getsockname()[1]}")
        sealed("thing.made", "thing.changed")
        deliver_due()
        assert [b'logIndex="%d"' % n in heard.recv(65_000) for n in (1, 2)] == [True, True]


def test_nothing_in_an_event_breaks_out_of_a_syslog_message() -> None:
    event = {
        "tenant": str(TENANT),
        "subject": {"kind": 'x"] evil', "id": "1"},
        "seq": 1,
        "verb": "a b\n<0>1 forged",
        "outcome": "ok",
        "actor": 'me"]\x1b[31m',
        "correlation_id": "",
        "at": "2026-11-21T03:00:00.000001Z",
    }
    line = syslog_line(SealedEvent(0, json.dumps(event).encode(), b"\0" * 32), "a host").decode()
    assert "\n" not in line.partition("\ufeff")[0] and "\x1b" not in line.partition("\ufeff")[0]
    assert 'subject="x\\"\\] evil/1"' in line and " a?host interlock - a?b?<0>1?forged [" in line


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("syslog", "h:1"),
        ("syslog", "tcp://"),
        ("syslog", "tcp://h:99999"),
        ("webhook", "nothing"),
        ("file", "x"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_words(kind: str, address: str) -> None:
    assert address_fault(kind, address).endswith(".")


def test_a_secret_survives_a_change_of_the_installations_key(receiver: Any, settings: Any) -> None:
    stream = webhook(receiver)
    secret = read_secret(stream)
    new = b"n" * 32
    settings.INTERLOCK_KEK_NEW = base64.b64encode(new).decode()
    assert rewrap_secrets(new) == 1 and rewrap_secrets(new) == 0
    stream.refresh_from_db()
    assert read_secret(stream) == secret


def test_two_workers_do_not_serve_one_stream_at_once(receiver: Any) -> None:
    stream = webhook(receiver)
    sealed("thing.made")
    (claimed,) = delivery._dequeue(5)
    assert deliver_due() == 0, "its turn is taken"
    Stream.objects.filter(pk=stream.pk).update(position=F("position") + 1)
    delivery._deliver_stream(claimed)
    assert Stream.objects.get(pk=stream.pk).position == 2, "what the other said stands"

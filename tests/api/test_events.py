"""GET /api/actions/{id}/events: pages, and streams that lose nothing and say nothing twice."""

import asyncio
import gc
import json
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import connection
from django.test import AsyncClient

from actions.api import events as module
from actions.lifecycle.commit import advance, record_note
from actions.lifecycle.transitions import Note
from actions.live.news import database_async
from actions.models import Action
from audit.models import Event, PrivateValue
from tenants.authentication.tokens import revoke_token
from tenants.roles import remove_member
from tests.support.event_stream import EventStream

pytestmark = pytest.mark.django_db(transaction=True)


def write_events(action_id: str, count: int, size: int = 0) -> None:
    """Leave events on an action."""
    for n in range(count):
        action = Action.objects.get(pk=action_id)
        assert record_note(action, Note("step.started", {"n": n, "fill": "x" * size}), by="system:test")


def stored(action_id: str) -> list[int]:
    return list(Event.objects.filter(subject_id=action_id).order_by("seq").values_list("seq", flat=True))


class Listener:
    """A client that keeps a stream open, and reconnects from where it was."""

    def __init__(self, token: str, action_id: str) -> None:
        self.client, self.token = AsyncClient(), token
        self.path, self.seen, self.stream = f"/api/actions/{action_id}/events", [], EventStream()

    async def listen(self, until: int | None = None, after: int | None = None) -> str:
        """Read until an event's seq, or the end of the stream: says which."""
        try:
            return await self._listen(until, after)
        finally:
            await sync_to_async(lambda: connection.close())()  # the test client leaves it open

    async def _listen(self, until: int | None, after: int | None) -> str:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        response = await self.client.get(self.path, headers=headers)
        assert response.status_code == 200 and response["Content-Type"] == "text/event-stream", response.content
        self.response, self.stream = response, EventStream()
        source = response.streaming_content
        async for chunk in source:
            self.stream.feed(chunk)
            self.seen += [json.loads(e.data) for e in self.stream.events]
            self.stream.events.clear()
            if until is not None and self.seen and self.seen[-1]["seq"] >= until:
                await source.aclose()
                return "reached"
        return "ended"

    @property
    def seqs(self) -> list[int]:
        return [event["seq"] for event in self.seen]


@pytest.fixture
def listen(place) -> Any:
    return lambda action, who="operator": Listener(place.token(who), action["id"])


def test_a_page_holds_the_events_in_order_with_their_texts(program):
    operator = program("operator")
    action = operator.propose(ticket="OPS-7")
    operator.post(f"/api/actions/{action['id']}/cancel", {"reason": "wrong one"})
    status, page = operator.get(f"/api/actions/{action['id']}/events")
    assert status == 200 and page["next"] is None
    assert [e["verb"] for e in page["items"]] == ["action.submitted", "action.cancel"]
    assert page["items"][0]["private"]["ticket"] == "OPS-7"
    assert page["items"][1]["private"] == {"reason": "wrong one"}
    assert page["items"][1]["facts"]["reason"].keys() == {"commitment"}
    assert len(page["items"][0]["hash"]) == 64


def test_an_erased_text_is_gone_and_the_event_stays(program):
    operator = program("operator")
    action = operator.propose()
    PrivateValue.objects.filter(subject_id=action["id"], name="reason").update(value=None, salt=None)
    page = operator.get(f"/api/actions/{action['id']}/events")[1]
    assert "reason" not in page["items"][0]["private"] and "reason" in page["items"][0]["facts"]


def test_pages_go_on_after_a_seq(program):
    operator = program("operator")
    action = operator.propose()
    write_events(action["id"], 6)
    seen, after = [], 0
    while after is not None:
        page = operator.get(f"/api/actions/{action['id']}/events", after=after, limit=3)[1]
        seen += [e["seq"] for e in page["items"]]
        after = page["next"]
    assert seen == stored(action["id"]) == list(range(1, 8))


async def test_a_stream_tells_what_was_and_then_what_happens(program, listen):
    action = await database_async(lambda: program("operator").propose())()
    listener = await database_async(listen)(action)
    task = asyncio.create_task(listener.listen(until=4))
    await asyncio.sleep(0.4)
    assert listener.seqs == [1]
    started = time.monotonic()
    await database_async(write_events)(action["id"], 3)
    assert await asyncio.wait_for(task, 5) == "reached"
    assert time.monotonic() - started < 2, "it was not woken"
    assert listener.seqs == [1, 2, 3, 4]
    assert listener.response["Cache-Control"] == "no-store" and listener.stream.retry == 1000


async def test_reconnecting_again_and_again_leaves_no_gap_and_says_nothing_twice(program, listen):
    action = await database_async(lambda: program("operator").propose())()
    listener = await database_async(listen)(action)
    writer = asyncio.create_task(database_async(write_events)(action["id"], 40))
    for until in (3, 9, 10, 22, 30, 41):
        await asyncio.wait_for(listener.listen(until=until, after=listener.seqs[-1] if listener.seen else None), 20)
        await asyncio.sleep(0.05)
    await writer
    assert listener.seqs == list(range(1, 42))


async def test_a_stream_ends_after_so_many_bytes_and_the_next_goes_on(program, listen, monkeypatch):
    monkeypatch.setattr(module, "MAX_STREAM_BYTES", 8_000)
    action = await database_async(lambda: program("operator").propose())()
    await database_async(write_events)(action["id"], 12, size=1_500)
    listener, ends = await database_async(listen)(action), 0
    while listener.seqs[-1:] != [13]:
        before = len(listener.seen)
        how = await asyncio.wait_for(listener.listen(until=13, after=listener.seqs[-1] if listener.seen else None), 10)
        assert 0 < len(listener.seen) - before <= 5
        ends += how == "ended"
    assert ends >= 2 and listener.seqs == list(range(1, 14))


async def test_an_event_larger_than_a_whole_stream_is_told_alone(program, listen, monkeypatch):
    monkeypatch.setattr(module, "MAX_STREAM_BYTES", 1_000)
    action = await database_async(lambda: program("operator").propose())()
    await database_async(write_events)(action["id"], 1, size=5_000)
    listener = await database_async(listen)(action)
    assert await asyncio.wait_for(listener.listen(after=1), 10) == "ended"
    assert listener.seqs == [2]


async def test_a_stream_ends_after_its_time_and_beats_while_nothing_happens(program, listen, monkeypatch):
    monkeypatch.setattr(module, "MAX_STREAM_S", 1.2)
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(module, "RECHECK_S", 0.3)
    action = await database_async(lambda: program("operator").propose())()
    listener = await database_async(listen)(action)
    started = time.monotonic()
    assert await listener.listen() == "ended"
    assert 1 < time.monotonic() - started < 4
    assert listener.stream.comments >= 2 and listener.seqs == [1]


@pytest.mark.parametrize("how", ["role", "token", "person"])
async def test_a_stream_ends_when_the_reader_may_no_longer_see(program, place, listen, how):
    action = await database_async(lambda: program("operator").propose())()
    listener = await database_async(listen)(action, "auditor")
    task = asyncio.create_task(listener.listen())
    await asyncio.sleep(0.5)
    assert listener.seqs == [1] and not task.done()

    def lose() -> None:
        if how == "role":
            remove_member(place.auditor, place.roles["auditor"])
        elif how == "token":
            revoke_token(place.auditor.tokens.get(), place.auditor)
        else:
            type(place.auditor).objects.filter(pk=place.auditor.pk).update(is_active=False)

    await database_async(lose)()
    await database_async(write_events)(action["id"], 1)
    started = time.monotonic()
    assert await asyncio.wait_for(task, 7) == "ended"
    assert time.monotonic() - started < (2 if how != "person" else 6)


async def test_a_reader_that_leaves_leaves_no_listener_behind(program, listen):
    action = await database_async(lambda: program("operator").propose())()
    for _ in range(3):
        await (await database_async(listen)(action)).listen(until=1)
    layer = get_channel_layer()._get_layer()
    for _ in range(50):
        gc.collect()  # what closed a wrapped generator is the collector, as in Django
        await asyncio.sleep(0.02)
        if not layer.channels:
            break
    assert layer.channels == {} and layer.groups == {}


async def test_without_the_layer_a_stream_looks_by_itself(program, listen, monkeypatch):
    action = await database_async(lambda: program("operator").propose())()
    monkeypatch.setattr("actions.live.news.get_channel_layer", lambda: None)
    listener = await database_async(listen)(action)
    task = asyncio.create_task(listener.listen(until=2))
    await asyncio.sleep(0.3)
    await database_async(advance)([Action.objects.model(pk=action["id"]).pk], "cancel", by="system:test")
    assert await asyncio.wait_for(task, 5) == "reached"


async def test_a_stranger_and_an_outsider_get_no_stream(program, place):
    action = await database_async(lambda: program("operator").propose())()
    path, client = f"/api/actions/{action['id']}/events", AsyncClient()
    assert (await client.get(path, headers={"Accept": "text/event-stream"})).status_code == 401
    token = await database_async(place.token)("outsider")
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    got = await client.get(path, headers=headers)
    assert got.status_code == 404 and got["Content-Type"] == "application/problem+json"

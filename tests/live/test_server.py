"""The real server over real connections: what a test client cannot show."""

import asyncio
import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import websockets
from django.db import connection
from redis import Redis

from actions.lifecycle.commit import advance
from actions.live.news import database_async
from tests.actions.factory import an_action
from tests.api.test_events import write_events
from tests.support.event_stream import EventStream
from tests.support.processes import Group, free_port, wait_for

pytestmark = pytest.mark.django_db(transaction=True)
READERS = 60


class Server:
    def __init__(self, port: int, running: Group) -> None:
        self.port, self.process = port, psutil.Process(running.process.pid)

    def get(self, path: str, token: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def stream(self, path: str, token: str, after: int = 0, receive_buffer: int = 0) -> socket.socket:
        """A raw connection that asked for a stream and has read nothing yet."""
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.connect(("127.0.0.1", self.port))
        raw.settimeout(20)
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {token}",
            "Accept: text/event-stream",
            f"Last-Event-ID: {after}",
            "",
            "",
        ]
        raw.sendall("\r\n".join(lines).encode())
        return raw


@pytest.fixture
def server(product_environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    port, log = free_port(), tmp_path / "web.log"
    command = [sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port), "config.asgi:application"]
    running = Group(command, product_environment, log)
    try:
        wait_for(lambda: _answers(port), 40, "the server's first answer", log)
        yield Server(port, running)
    finally:
        running.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def read_until(raw: socket.socket, seq: int) -> EventStream:
    """Read a chunked response until an event."""
    stream, rest = EventStream(), b""
    while b"\r\n\r\n" not in rest:
        rest += raw.recv(4096)
    head, _, rest = rest.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    is_chunked = b"transfer-encoding: chunked" in head.lower()
    while not stream.events or int(stream.events[-1].id) < seq:
        if is_chunked:
            while b"\r\n" in rest:
                size, _, more = rest.partition(b"\r\n")
                length = int(size, 16)
                if len(more) < length + 2:
                    break
                stream.feed(more[:length])
                rest = more[length + 2 :]
        else:
            stream.feed(rest)
            rest = b""
        if stream.events and int(stream.events[-1].id) >= seq:
            break
        data = raw.recv(65536)
        assert data, "the stream ended early"
        rest += data
    return stream


async def test_a_change_reaches_streams_and_sockets_of_a_real_server(place, server):
    action = await database_async(an_action)(place)
    token = await database_async(place.token)("operator")
    raw = server.stream(f"/api/actions/{action.pk}/events", token)
    address = f"ws://127.0.0.1:{server.port}/ws/actions/{action.pk}/"
    async with websockets.connect(address, additional_headers={"Authorization": f"Bearer {token}"}) as page:
        assert json.loads(await page.recv()) == {"changed": str(action.pk), "seq": 1}
        await asyncio.to_thread(read_until, raw, 1)
        started = time.monotonic()
        await database_async(write_events)(str(action.pk), 1)
        assert json.loads(await asyncio.wait_for(page.recv(), 5)) == {"changed": str(action.pk), "seq": 2}
        assert time.monotonic() - started < 2
    raw.close()
    with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
        async with websockets.connect(address, additional_headers={"Authorization": "Bearer nonsense"}) as stranger:
            await stranger.recv()
    assert closed.value.rcvd and closed.value.rcvd.code == 4401
    with pytest.raises(websockets.exceptions.InvalidStatus):
        await websockets.connect(address, origin="http://evil.test", additional_headers={"Authorization": token})


def connections() -> int:
    """How many clients are connected to the test database; 0 on SQLite, which has none."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


def test_waiting_holds_no_database_connection_and_is_woken(place, server):
    action, token = an_action(place), place.token("operator")
    before = connections()
    reader = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    path = f"/api/actions/{action.pk}?wait_s=15&state=cancelled"
    reader.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        wait_for(redis.pubsub_channels, 20, "the wait for a change")
    wait_for(lambda: connections() <= before, 20, "the end of the server's connection while it waits")
    started = time.monotonic()
    advance([action.pk], "cancel", by="system:test")
    answer = reader.recv(65536)
    assert b" 200 " in answer.splitlines()[0] and time.monotonic() - started < 3
    reader.close()


def test_readers_that_do_not_read_cost_bounded_memory_and_hinder_nobody(place, server):
    action, token = an_action(place), place.token("operator")
    write_events(str(action.pk), 400, size=2_000)
    path = f"/api/actions/{action.pk}/events"
    server.get(f"/api/actions/{action.pk}", token)
    before = server.process.memory_info().rss
    idle = [server.stream(path, token, receive_buffer=4096) for _ in range(READERS)]
    time.sleep(4)
    raw = server.stream(path, token, after=399)
    assert [int(e.id) for e in read_until(raw, 401).events] == [400, 401]
    started = time.monotonic()
    server.get(f"/api/actions/{action.pk}", token)
    assert time.monotonic() - started < 5
    grown = (server.process.memory_info().rss - before) / READERS
    for connected in (*idle, raw):
        connected.close()
    assert grown < 1024 * 1024, f"{grown / 1024:.0f} KiB per reader that does not read"

"""The sockets: who may listen, what is said, and when it ends."""

import asyncio
import time
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.db import connection

from actions.lifecycle.commit import Changed, advance
from actions.live import sockets
from actions.live.news import database_async, environment_group, publish_changes, publish_log_written
from audit.models import Event
from config.asgi import application
from tenants.authentication.tokens import revoke_token
from tenants.roles import add_member, grant, remove_member
from tests.actions.factory import an_action

pytestmark = pytest.mark.django_db(transaction=True)
HERE = b"http://localhost"


class Socket(WebsocketCommunicator):
    """A browser's socket (with a session and an origin) or a script's (with a token)."""

    def __init__(self, path: str, *, session: str = "", token: str = "", origin: bytes = HERE) -> None:
        headers = [(b"host", b"localhost")]
        if session:
            headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={session}".encode()))
        if token:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        if origin and not token:
            headers.append((b"origin", origin))
        super().__init__(application, path, headers)

    async def code(self, timeout: float = 3) -> int:
        """The code it is closed with, whatever is said before."""
        while True:
            message = await self.receive_output(timeout)
            if message["type"] == "websocket.close":
                return message.get("code", 1000)

    async def open(self) -> "Socket":
        connected, _ = await self.connect(timeout=3)
        assert connected
        return self


def signed_in(place: Any, name: str) -> str:
    return place.client(name).cookies[settings.SESSION_COOKIE_NAME].value


@pytest.fixture
def session(place):
    return lambda name="operator": signed_in(place, name)


@pytest.fixture
def action(place):
    return an_action(place)


async def test_a_browser_and_a_script_hear_what_changes(place, session, action):
    sockets = [
        await Socket("/ws/queue/", session=await database_async(session)()).open(),
        await Socket("/ws/queue/", token=await database_async(place.token)("auditor")).open(),
    ]
    for socket in sockets:
        assert await socket.receive_json_from(3) == {"changed": "refetch", "seq": 1}
    await asyncio.sleep(0.3)
    await database_async(advance)([action.pk], "cancel", by="system:test")
    for socket in sockets:
        assert await socket.receive_json_from(3) == {"changed": {str(action.pk): 2}, "seq": 2}
        await socket.disconnect()


async def test_an_actions_socket_hears_of_it_alone(place, session, action):
    other = await database_async(an_action)(place)
    socket = await Socket(f"/ws/actions/{action.pk}/", session=await database_async(session)()).open()
    assert await socket.receive_json_from(3) == {"changed": str(action.pk), "seq": 1}
    await database_async(advance)([other.pk], "cancel", by="system:test")
    await database_async(advance)([action.pk], "cancel", by="system:test")
    assert await socket.receive_json_from(3) == {"changed": str(action.pk), "seq": 2}
    assert await socket.receive_nothing(0.4)
    await socket.disconnect()


async def test_only_its_own_page_hears_that_a_step_wrote_more(place, session, action):
    cookie = await database_async(session)()
    page = await Socket(f"/ws/actions/{action.pk}/", session=cookie).open()
    queue = await Socket("/ws/queue/", session=cookie).open()
    news = {"changed": str(action.pk), "seq": 1}
    assert await page.receive_json_from(3) == news and await queue.receive_json_from(3)
    other = await database_async(an_action)(place)
    await database_async(publish_log_written)([action, other])
    assert await page.receive_json_from(3) == news, "the same seq: only the log grew"
    assert await queue.receive_nothing(0.3) and await page.receive_nothing(0.3)
    await page.disconnect()
    await queue.disconnect()


async def test_another_tenant_hears_nothing(place, session, action):
    socket = await Socket("/ws/queue/", session=await database_async(session)("outsider")).open()
    await socket.receive_json_from(3)
    await database_async(advance)([action.pk], "cancel", by="system:test")
    assert await socket.receive_nothing(0.6)
    await socket.disconnect()


@pytest.mark.parametrize("path", ["/ws/queue/", f"/ws/actions/{uuid.UUID(int=7)}/"])
@pytest.mark.parametrize("who", [{}, {"session": "x" * 32}, {"token": "ilk_nonsense"}])
async def test_who_shows_nothing_is_closed_with_4401(place, path, who):
    socket = await Socket(path, **who).open()
    assert await socket.code() == sockets.SIGNED_OUT


async def test_foreign_and_unknown_actions_are_closed_alike(place, session, action):
    key = await database_async(session)("outsider")
    said = []
    for id in (action.pk, uuid.uuid4()):
        socket = await Socket(f"/ws/actions/{id}/", session=key).open()
        said.append(await socket.receive_output(3))
    assert said[0] == said[1] == {"type": "websocket.close", "code": sockets.UNKNOWN}


@pytest.mark.parametrize("path", ["/ws/", "/ws/actions/nonsense/", "/nothing", "/ws/queue"])
async def test_any_other_address_is_closed_with_4404(place, session, path):
    socket = await Socket(path, session=await database_async(session)()).open()
    assert await socket.code() == sockets.UNKNOWN


@pytest.mark.parametrize("origin", [b"http://evil.test", b"null", b""])
async def test_another_sites_page_is_refused_before_anything_is_looked_at(place, session, origin):
    socket = Socket("/ws/queue/", session=await database_async(session)(), origin=origin)
    connected, _ = await socket.connect(timeout=3)
    assert not connected


async def test_a_burst_is_said_in_few_messages_and_its_end_is_not_lost(place, session, action):
    socket = await Socket("/ws/queue/", session=await database_async(session)()).open()
    await socket.receive_json_from(3)
    layer, group, said = get_channel_layer(), environment_group(place.dev.pk), []
    started = time.monotonic()
    for n in range(1, 101):
        await layer.group_send(group, {"type": "actions.changed", "changed": {str(action.pk): n}})
        await asyncio.sleep(0.005)
    while not said or said[-1]["changed"][str(action.pk)] < 100:
        said.append(await socket.receive_json_from(3))
    took = time.monotonic() - started
    assert len(said) <= 4 * took + 2, f"{len(said)} messages in {took:.1f} s"
    assert await socket.receive_nothing(0.5)
    await socket.disconnect()


async def test_who_cannot_keep_up_is_told_to_fetch_everything(place, session):
    socket = await Socket("/ws/queue/", session=await database_async(session)()).open()
    await socket.receive_json_from(3)
    many = {str(uuid.uuid4()): 1 for _ in range(sockets.MAX_NAMED + 50)}
    for half in (dict(list(many.items())[:150]), dict(list(many.items())[150:])):
        await get_channel_layer().group_send(
            environment_group(place.dev.pk), {"type": "actions.changed", "changed": half}
        )
    said = [await socket.receive_json_from(3)]
    if said[0]["changed"] != "refetch":  # the first went out before the second came
        said.append(await socket.receive_json_from(3))
    assert len(said) == 2 or said[0]["changed"] == "refetch"
    assert all(m["changed"] == "refetch" or len(m["changed"]) <= sockets.MAX_NAMED for m in said)
    for half in (dict(list(many.items())[:150]), dict(list(many.items())[150:])):  # in the pause after a message
        await get_channel_layer().group_send(
            environment_group(place.dev.pk), {"type": "actions.changed", "changed": half}
        )
    assert (await socket.receive_json_from(3))["changed"] == "refetch"
    await socket.disconnect()


async def test_what_the_client_says_changes_nothing(place, session, action):
    socket = await Socket("/ws/queue/", session=await database_async(session)()).open()
    await socket.receive_json_from(3)
    before = await database_async(Event.objects.count)()
    for text in ("{", '{"type": "actions.changed", "changed": {}}', "x" * 10_000):
        await socket.send_to(text_data=text)
    await socket.send_to(bytes_data=b"\x00\xff")
    assert await socket.receive_nothing(0.4)
    assert await database_async(Event.objects.count)() == before
    await socket.disconnect()


@pytest.mark.parametrize("path", ["queue", "action"])
async def test_a_lost_role_ends_the_socket_at_once(place, session, action, path):
    where = "/ws/queue/" if path == "queue" else f"/ws/actions/{action.pk}/"
    socket = await Socket(where, session=await database_async(session)("auditor")).open()
    await socket.receive_json_from(3)
    started = time.monotonic()
    await database_async(remove_member)(place.auditor, place.roles["auditor"])
    assert await socket.code() == sockets.LOST
    assert time.monotonic() - started < 3


async def test_a_sign_out_ends_the_socket_within_five_seconds(place, action):
    browser = await database_async(place.client)("operator")
    key = browser.cookies[settings.SESSION_COOKIE_NAME].value
    socket = await Socket("/ws/queue/", session=key).open()
    stays = await Socket("/ws/queue/", token=await database_async(place.token)("operator")).open()
    await socket.receive_json_from(3)
    await stays.receive_json_from(3)
    started = time.monotonic()
    await database_async(browser.logout)()
    await database_async(_said_by_the_page)(place.operator)
    assert await socket.code(6) == sockets.SIGNED_OUT
    assert time.monotonic() - started < 5
    assert await stays.receive_nothing(0.2)
    await stays.disconnect()


def _said_by_the_page(principal: Any) -> None:
    """The test client flushes its session without the signal that Django's sign-out sends."""
    user_logged_out.send(type(principal), request=None, user=principal)


async def test_a_revoked_token_ends_the_socket(place):
    socket = await Socket("/ws/queue/", token=await database_async(place.token)("auditor")).open()
    await socket.receive_json_from(3)
    await database_async(lambda: revoke_token(place.auditor.tokens.get(), place.auditor))()
    assert await socket.code() == sockets.SIGNED_OUT


async def test_a_loss_that_nobody_announced_is_found_at_the_next_look(place, session, monkeypatch):
    monkeypatch.setattr(sockets, "RECHECK_S", 0.5)
    socket = await Socket("/ws/queue/", session=await database_async(session)("auditor")).open()
    await socket.receive_json_from(3)
    await database_async(lambda: place.auditor.groups.clear())()
    assert await socket.code(4) == sockets.LOST


async def test_a_role_gained_opens_the_ears_without_a_new_socket(place, session):
    await database_async(remove_member)(place.operator, place.roles["operator"])
    role = place.roles["approver"]

    def only_in_prod() -> None:
        grant(role, place.acme, [])
        grant(role, place.prod, ["view"])
        add_member(place.operator, role)

    await database_async(only_in_prod)()
    socket = await Socket("/ws/queue/", session=await database_async(session)()).open()
    await socket.receive_json_from(3)
    changed = Changed(uuid.uuid4(), place.acme.pk, place.dev.pk, "queued", 1, False)
    await database_async(publish_changes)([changed])
    assert await socket.receive_nothing(0.5)
    await database_async(grant)(role, place.dev, ["view"])
    await asyncio.sleep(0.5)
    await database_async(publish_changes)([changed])
    assert await socket.receive_json_from(3) == {"changed": {str(changed.action_id): 1}, "seq": 2}
    await socket.disconnect()


async def test_closed_sockets_leave_nothing_behind(place, session, action):
    key = await database_async(session)()
    for path in ("/ws/queue/", f"/ws/actions/{action.pk}/"):
        socket = await Socket(path, session=key).open()
        await socket.receive_json_from(3)
        await socket.disconnect()
    layer = get_channel_layer()._get_layer()
    assert layer.channels == {} and layer.groups == {}
    await sync_to_async(lambda: connection.close())()

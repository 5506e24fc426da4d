"""WebSockets that say that something changed. Pages fetch over HTTP, where permission is checked."""

import asyncio
import random
from typing import Any
from uuid import UUID

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier
from django.urls import path, re_path

from actions.lifecycle.allowed import find_action
from actions.live.connection_access import ConnectionAccess
from actions.live.news import database_async, environment_group, principal_group
from audit.errors import NotFound
from tenants.access import Access

SIGNED_OUT, LOST, UNKNOWN = 4401, 4403, 4404
BETWEEN_MESSAGES_S = 0.25
MAX_NAMED = 200
"""How many actions one message names; whoever missed more fetches everything."""
RECHECK_S = 60.0
SECOND_RECHECK_S = 2.0
"""After a hint that roles changed: a sign-out says so just before its session is gone."""
REFETCH = "refetch"


class ChangeConsumer(AsyncJsonWebsocketConsumer):
    """
    Authorise, join groups, forward. Writes nothing, and hears nothing of what the client says.

    At most four messages a second: what comes in between is merged into the next one, so that the last is never lost.
    Looks at the caller's standing again when its roles change, when it signs out, and once a minute.
    """

    async def connect(self) -> None:
        self.pending: dict[str, int] | None = {}
        self.joined: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_flushing, self.told = False, 0
        self.standing = ConnectionAccess.from_scope(self.scope)
        await self.accept()  # first: a browser is not told the code of a socket that was never accepted
        access = await database_async(self.standing.access)()
        if access is None:
            return await self.close(SIGNED_OUT)
        self.standing = ConnectionAccess(self.standing.authorization, self.standing.session_key, access.tenant.slug)
        self.principal_group = principal_group(access.principal.pk)
        await self._join(self.principal_group)
        if await self._recheck(UNKNOWN):
            self._background(self._recheck_forever())
            self._merge(await self.first_news())

    async def disconnect(self, code: int) -> None:
        for task in list(getattr(self, "tasks", ())):
            task.cancel()
        for group in getattr(self, "joined", ()):
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, *args: Any, **kwargs: Any) -> None:
        """Whatever a client says, there is nothing to do about it."""

    async def actions_changed(self, message: dict[str, Any]) -> None:
        if changed := self.mine(message["changed"]):
            self._merge(changed)

    async def actions_logged(self, message: dict[str, Any]) -> None:
        """A step wrote more: only its own page wants to know."""

    async def principal_changed(self, message: dict[str, Any]) -> None:
        if await self._recheck(LOST):
            self._background(self._recheck_later(SECOND_RECHECK_S))

    async def groups_for(self, access: Access) -> set[str]:
        """The groups that this caller may hear; none at all means that there is nothing for it here."""
        raise NotImplementedError

    async def first_news(self) -> dict[str, int] | None:
        """What to say at once, because it may have changed between the page's making and this socket's joining."""
        raise NotImplementedError

    def mine(self, changed: dict[str, int]) -> dict[str, int]:
        """The part of a message that is for this socket."""
        raise NotImplementedError

    def worded(self, changed: dict[str, int] | None) -> dict[str, Any]:
        """The message to send; None is "more than I can tell you"."""
        raise NotImplementedError

    async def _recheck(self, refusal: int) -> bool:
        """Look at the caller again; leave and join groups, or close. False if that was the end."""
        access = await database_async(self.standing.access)()
        if access is None:
            signed_in = await database_async(self.standing.is_signed_in)()
            await self.close(LOST if signed_in else SIGNED_OUT)
            return False
        groups = await self.groups_for(access)
        if not groups:
            await self.close(refusal)
            return False
        for group in self.joined - groups - {self.principal_group}:
            self.joined.discard(group)
            await self.channel_layer.group_discard(group, self.channel_name)
        for group in groups - self.joined:
            await self._join(group)
        return True

    async def _join(self, group: str) -> None:
        await self.channel_layer.group_add(group, self.channel_name)
        self.joined.add(group)

    async def _recheck_forever(self) -> None:
        while await self._recheck_later(RECHECK_S * random.uniform(0.8, 1.0)):
            pass

    async def _recheck_later(self, delay_s: float) -> bool:
        await asyncio.sleep(delay_s)
        return await self._recheck(LOST)

    def _merge(self, changed: dict[str, int] | None) -> None:
        """Keep what is to be said, within bounds, and see that somebody says it."""
        if changed is None or self.pending is None:
            self.pending = None
        else:
            self.pending.update(changed)
            if len(self.pending) > MAX_NAMED:
                self.pending = None
        if not self.is_flushing:
            self.is_flushing = True
            self._background(self._flush())

    async def _flush(self) -> None:
        """Say what is pending; while a slow client takes its time, the rest goes on being merged."""
        while self.pending is None or self.pending:
            changed, self.pending = self.pending, {}
            self.told += 1
            await self.send_json(self.worded(changed))
            await asyncio.sleep(BETWEEN_MESSAGES_S)
        self.is_flushing = False

    def _background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class QueueConsumer(ChangeConsumer):
    """Every action in the environments that the caller may view: {"changed": {id: seq, …} or "refetch", "seq": n}."""

    async def groups_for(self, access: Access) -> set[str]:
        return {environment_group(environment) for environment in access.environments_where("view")}

    async def first_news(self) -> dict[str, int] | None:
        return None

    def mine(self, changed: dict[str, int]) -> dict[str, int]:
        return changed

    def worded(self, changed: dict[str, int] | None) -> dict[str, Any]:
        return {"changed": REFETCH if changed is None else changed, "seq": self.told}


class ActionConsumer(ChangeConsumer):
    """One action: {"changed": id, "seq": its seq}."""

    @property
    def action_id(self) -> UUID:
        return self.scope["url_route"]["kwargs"]["action_id"]

    async def groups_for(self, access: Access) -> set[str]:
        try:
            action = await database_async(find_action)(access, self.action_id)
        except NotFound:
            return set()
        self.seq = action.seq
        return {environment_group(action.environment_id)}

    async def first_news(self) -> dict[str, int] | None:
        return {str(self.action_id): self.seq}

    def mine(self, changed: dict[str, int]) -> dict[str, int]:
        key = str(self.action_id)
        return {key: changed[key]} if key in changed else {}

    async def actions_logged(self, message: dict[str, Any]) -> None:
        if str(self.action_id) in message["logged"]:
            self._merge({str(self.action_id): self.seq})

    def worded(self, changed: dict[str, int] | None) -> dict[str, Any]:
        self.seq = max(self.seq, *(changed or {}).values(), 0)
        return {"changed": str(self.action_id), "seq": self.seq}


class UnknownSocket(AsyncJsonWebsocketConsumer):
    """Any other address: closed as an unknown action is, and not an error in the log."""

    async def connect(self) -> None:
        await self.accept()
        await self.close(UNKNOWN)


# Allowed origins: our own hosts; and programs, which have a token and no origin.


def require_own_origin_or_token(application: Any) -> Any:
    """
    Refuse sockets from other sites' pages.

    A browser always says where its page came from and cannot send an Authorization header, so a socket without an
    Origin is let on only with one; its token is checked further in.
    """
    checked = AllowedHostsOriginValidator(application)

    async def entered(scope: dict[str, Any], receive: Any, send: Any) -> Any:
        names = {name.lower() for name, _ in scope.get("headers", [])}
        if b"origin" in names:
            return await checked(scope, receive, send)
        inner = application if b"authorization" in names else WebsocketDenier()
        return await inner(scope, receive, send)

    return entered


# Routes.


websocket_urlpatterns = [
    path("ws/queue/", QueueConsumer.as_asgi()),
    path("ws/actions/<uuid:action_id>/", ActionConsumer.as_asgi()),
    re_path("", UnknownSocket.as_asgi()),
]

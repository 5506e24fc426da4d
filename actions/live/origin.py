"""Which sites may open a socket: our own hosts; and programs, which have a token and no origin."""

from typing import Any

from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier


def own_origin_or_token(application: Any) -> Any:
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

"""HTTP to Django, sockets to their consumers: same sign-in, same allowed hosts."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()  # loads the apps; imports of models come after it

from twisted.internet import reactor  # noqa: E402  Daphne's app has installed it by now

from actions.live.sockets import require_own_origin_or_token, websocket_urlpatterns  # noqa: E402
from config.http.graceful_shutdown import GracefulShutdown  # noqa: E402
from config.http.receive_limit import limit_received_bodies  # noqa: E402

limit_received_bodies()

application = GracefulShutdown(
    ProtocolTypeRouter(
        {
            "http": django_application,
            "websocket": require_own_origin_or_token(URLRouter(websocket_urlpatterns)),
        }
    )
).register_with(reactor)

"""Where the sockets are."""

from django.urls import path, re_path

from actions.live.consumers import ActionWatcher, Nowhere, QueueWatcher

websocket_urlpatterns = [
    path("ws/queue/", QueueWatcher.as_asgi()),
    path("ws/actions/<uuid:action_id>/", ActionWatcher.as_asgi()),
    re_path("", Nowhere.as_asgi()),
]

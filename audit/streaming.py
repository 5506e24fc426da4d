"""A response that is sent in pieces, under either server interface: what makes them is never run on the event loop."""

from collections.abc import AsyncIterator, Iterable, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse


def streamed(request: HttpRequest, pieces: Iterator[bytes], media_type: str, name: str = "") -> StreamingHttpResponse:
    """Send these pieces as they are made, uncached; as a download of this name, where it has one."""
    sent: Iterable[bytes] | AsyncIterator[bytes] = _asynchronous(pieces) if isinstance(request, ASGIRequest) else pieces
    response = StreamingHttpResponse(sent, content_type=media_type)
    response["Cache-Control"] = "no-store"
    if name:
        response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


async def _asynchronous(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def take() -> bytes | None:
        return next(pieces, None)

    while (piece := await sync_to_async(take)()) is not None:
        yield piece

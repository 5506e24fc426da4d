"""Send an evidence pack, in pieces, under either server interface."""

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from audit.evidence.pack import Pack


def pack_response(request: HttpRequest, pack: Pack, name: str) -> StreamingHttpResponse:
    """A download called `name`.zip with its exact length; the artifacts are read while they are sent."""
    pieces = _asynchronous(iter(pack)) if isinstance(request, ASGIRequest) else iter(pack)
    response = StreamingHttpResponse(pieces, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{name}.zip"'
    response["Content-Length"] = str(pack.size)
    response["Cache-Control"] = "no-store"
    return response


async def _asynchronous(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def take() -> bytes | None:
        return next(pieces, None)

    while (piece := await sync_to_async(take)()) is not None:
        yield piece

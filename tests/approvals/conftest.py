from collections.abc import Iterator

import pytest

from approvals.requests.decisions import request_decided
from tests.approvals.scene import Scene, a_scene


@pytest.fixture
def scene(db) -> Scene:
    return a_scene()


@pytest.fixture
def signals() -> Iterator[list[tuple]]:
    """Every settlement that was announced: request id, outcome, by."""
    heard: list[tuple] = []

    def listen(sender, *, request, outcome, by, correlation_id, at, **kwargs):
        heard.append((request.pk, outcome, by))

    request_decided.connect(listen)
    yield heard
    request_decided.disconnect(listen)

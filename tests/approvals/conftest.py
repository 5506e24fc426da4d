from collections.abc import Iterator

import pytest

from approvals.decisions import settled
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

    settled.connect(listen)
    yield heard
    settled.disconnect(listen)

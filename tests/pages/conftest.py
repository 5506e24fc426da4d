"""A tenant with a matrix, and its people in browsers without JavaScript."""

from collections.abc import Callable
from typing import Any

import pytest

from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.lifecycle.allowed import find_action
from actions.models import Action
from tests.api.conftest import carry, place
from tests.cast import Cast

__all__ = ["carry", "place"]

Propose = Callable[..., Action]


def a_file(path: str = "notes.txt", content: str = "hello\n", operation: str = "create") -> dict[str, Any]:
    change = {"path": path, "operation": operation, "content": content}
    return {"changes": [change]}


@pytest.fixture
def propose(place: Cast, carry: Callable[[], None]) -> Propose:
    """`propose("prod", title=…)` submits as the operator and lets the workers carry it."""

    def proposed(environment: str = "dev", who: str = "operator", **more: Any) -> Action:
        fields = {"type": "modify_files", "reason": "a test", "parameters": a_file(), **more}
        action, _ = submit(place.access(who), Submission(environment=environment, **fields), correlation_id="c0ffee")
        carry()
        return find_action(place.access(who), action.pk)

    return proposed

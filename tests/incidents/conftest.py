"""Actions that fail or are held, made quickly, and the incident work in one slice, without messages."""

from collections.abc import Callable
from typing import Any

import pytest

from actions.incidents.diagnostics import host_facts as host_facts
from actions.incidents.worker import run_slice
from actions.lifecycle.commit import commit
from actions.lifecycle.transitions import Transition
from actions.models import Action, Incident
from tests.actions.conftest import cast as cast
from tests.actions.conftest import committed_cast as committed_cast
from tests.actions.factory import an_action

MESSAGE = "No space left on device"
Fails = Callable[..., Action]


def fail(cast: Any, code: str = "io", by: str = "system:execute", facts: Any = None, **fields: Any) -> Action:
    """An action in progress that its worker ends as failed."""
    action = an_action(cast, "in_progress", **fields)
    error = {"code": code, "message": MESSAGE, "details": {"step": "001:app.conf"}}
    assert commit([Transition(action, "fail", by=by, facts=facts or {}, sets={"error": error}, outcome="failed")])
    return Action.objects.get(pk=action.pk)


def hold(cast: Any, reason: str = "in_doubt", **fields: Any) -> Action:
    """An action in progress that its worker holds."""
    action = an_action(cast, "in_progress", **fields)
    facts = {"reason": reason, "step": "001:app.conf"}
    assert commit([Transition(action, "hold", facts=facts, sets={"held_reason": reason})])
    return Action.objects.get(pk=action.pk)


def incident_of(action: Action) -> Incident:
    """The newest incident of an action, after a slice of incident work."""
    run_slice()
    return Incident.objects.filter(action=action).latest("id")


@pytest.fixture(autouse=True)
def quick_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading this machine takes a second; one test of its own does it."""
    monkeypatch.setattr("actions.incidents.diagnostics.host_facts", lambda target: {"machine": "test", "sections": {}})

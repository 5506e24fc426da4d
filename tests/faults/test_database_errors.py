"""The database fails at every statement and every commit of a run in turn, before it was done and after."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection

from actions.engine import runner
from actions.models import Action
from tests.actions.factory import root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions
from tests.support.ledger_executor import balance, doubles

Call = Callable[[], Any]


class Trouble:
    """Fails the nth call that comes by: instead of it, or after it, when the answer is lost on its way."""

    def __init__(self, nth: int, after: bool) -> None:
        self.nth, self.after, self.seen = nth, after, 0

    def __call__(self, call: Call) -> Any:
        self.seen += 1
        if self.seen != self.nth:
            return call()
        if self.after:
            call()
        raise OperationalError("the connection is lost, says the test")


@contextmanager
def at_statements(trouble: Trouble) -> Iterator[None]:
    with connection.execute_wrapper(lambda execute, *args: trouble(lambda: execute(*args))):
        yield


@contextmanager
def at_commits(trouble: Trouble) -> Iterator[None]:
    commit = connection._commit
    connection._commit = lambda: trouble(commit)
    try:
        yield
    finally:
        del connection._commit


@pytest.fixture
def runners(committed_cast, monkeypatch) -> Iterator[list[runner.Runner]]:
    monkeypatch.setattr(runner, "AWAY_PAUSE_S", 0)
    made = [runner.Runner("decide"), runner.Runner("execute")]
    yield made
    for r in made:
        r.stop()


WAYS = [(e, p, a) for e in ("completed", "rolled_back") for p in (at_statements, at_commits) for a in (False, True)]
QUICK = [("completed", at_commits, True), ("completed", at_statements, False), ("rolled_back", at_commits, False)]


@pytest.mark.parametrize(
    ("ends", "place", "after"),
    [pytest.param(*way, marks=() if way in QUICK else pytest.mark.slow) for way in WAYS],
    ids=lambda it: getattr(it, "__name__", {False: "undone", True: "answer_lost"}.get(it, it)),
)
def test_a_run_ends_as_if_nothing_had_happened_wherever_the_database_fails(
    committed_cast, redis_client, ledger_type, runners, ends, place, after
):
    ledger, actions = root_of(committed_cast.dev) / ".ledger", []
    parameters = {"steps": 2} if ends == "completed" else {"steps": 2, "fail_at": 2}
    for nth in range(1, 200):
        trouble = Trouble(nth, after)
        actions += ledger_actions(committed_cast, 1, **parameters)
        with place(trouble):
            while sum(r.drain() for r in runners):
                pass
        if trouble.seen < nth:
            break
    assert len(actions) > 5, "the run has more statements and commits than that"
    states = Counter(Action.objects.values_list("state", flat=True))
    assert states == {ends: len(actions)}
    assert_sound(actions)
    if ends == "completed":
        assert_each_effect_once(actions, ledger)
    assert doubles(ledger) == []
    assert ends == "completed" or balance(ledger) == {}

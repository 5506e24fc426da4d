"""Steps as a graph: side by side where the order allows, heard out and undone together when one fails."""

import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions.engine.runner import Runner
from actions.models import Action, JournalEntry
from actions.preflight.step_graph import order_steps
from actions.run import steps as run_steps
from actions.types import registry
from actions.types.protocol import Draft, Outcome, PlanRefused
from tests.actions.factory import propose
from tests.actions.running import carry, verbs_of
from tests.support.ledger_executor import LedgerExecutor, balance, doubles, read_ledger

pytestmark = pytest.mark.django_db(transaction=True)
DIAMOND = [[], [1], [1], [2, 3]]


def run(cast, after, **parameters) -> Action:
    return carry(
        propose(cast, type="ledger", parameters={"steps": len(after), "after": after, **parameters}, accept=True)
    )


def kinds_of(action: Action) -> list[str]:
    return list(JournalEntry.objects.filter(action=action).order_by("id").values_list("kind", flat=True))


def test_independent_steps_run_beside_one_another(committed_cast, ledger_type, ledger):
    action = run(committed_cast, [[], [], [], []], sleep_ms=300)
    assert action.state == "completed"
    assert kinds_of(action)[:4] == ["intent"] * 4
    begun = [e.at for e in JournalEntry.objects.filter(action=action, kind="intent")]
    ended = [e.at for e in JournalEntry.objects.filter(action=action, kind="receipt")]
    assert max(begun) < min(ended)
    assert action.steps_done == 4
    assert balance(ledger) == {f"cell-{n}": 1 for n in range(1, 5)}


def test_no_more_than_a_few_steps_of_one_action_run_at_once(committed_cast, ledger_type):
    running, most = [], []

    def note(ctx):
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()

    ledger_type.before = note
    assert run(committed_cast, [[] for _ in range(12)]).state == "completed"
    assert 1 < max(most) <= run_steps.MAX_PARALLEL_STEPS


def test_a_step_begins_once_all_that_it_comes_after_is_done(committed_cast, ledger_type, ledger):
    action = run(committed_cast, DIAMOND, sleep_ms=50)
    assert action.state == "completed"
    cells = [e["cell"] for e in read_ledger(ledger)]
    assert (cells[0], set(cells[1:3]), cells[3]) == ("cell-1", {"cell-2", "cell-3"}, "cell-4")


def test_what_runs_beside_a_failing_step_is_heard_out_and_undone_too(committed_cast, ledger_type, ledger):
    def slow_neighbour(ctx):
        if ctx.step["spec"]["cell"] == "cell-3":
            time.sleep(0.4)

    ledger_type.before = slow_neighbour
    action = run(committed_cast, DIAMOND, fail_at=2)
    assert (action.state, action.error["code"]) == ("rolled_back", "told_to_fail")
    assert balance(ledger) == {}
    assert "cell-4" not in {e["cell"] for e in read_ledger(ledger)}
    assert verbs_of(action).count("step.failed") >= 1


def test_a_neighbour_that_can_stop_early_is_told_to(committed_cast, ledger_type, ledger):
    def at_once(ctx):
        return Outcome(False, "told_to_fail", "No.") if ctx.step["spec"]["cell"] == "cell-1" else None

    ledger_type.before = at_once
    began = time.monotonic()
    action = run(committed_cast, [[], []], sleep_ms=20_000)
    assert (action.state, action.error["code"]) == ("rolled_back", "told_to_fail")
    assert balance(ledger) == {}
    assert time.monotonic() - began < 10


def test_a_step_that_may_be_tried_again_does_not_hold_up_its_neighbours(committed_cast, ledger_type, ledger):
    tries: list[str] = []

    def shaky(ctx):
        if ctx.step["spec"]["cell"] == "cell-2":
            tries.append("x")
            if len(tries) < 3:
                return Outcome(False, "busy", "Try again.", retryable=True)
        return None

    ledger_type.before = shaky
    action = run(committed_cast, DIAMOND)
    assert (action.state, len(tries)) == ("completed", 3)
    assert balance(ledger) == {f"cell-{n}": 1 for n in range(1, 5)}


def test_a_step_that_overruns_its_time_holds_the_action_and_not_the_worker(
    committed_cast, ledger_type, ledger, monkeypatch
):
    monkeypatch.setattr(run_steps, "TIMEOUT_GRACE_S", 0.2)
    heard = threading.Event()

    def deaf(ctx):
        if ctx.parameters.get("sleep_ms"):
            heard.wait(30)

    ledger_type.before = deaf
    parameters = {"steps": 1, "sleep_ms": 1, "step_timeout_s": 0.2}
    late = propose(committed_cast, type="ledger", parameters=parameters, accept=True)
    runners = [Runner("decide"), Runner("execute")]
    began = time.monotonic()
    drain(runners)
    late.refresh_from_db()
    assert (late.state, late.held_reason, late.error["code"]) == ("held", "in_doubt", "overran")
    assert time.monotonic() - began < 4
    assert late.lease_id is None
    other = propose(committed_cast, type="ledger", parameters={"steps": 2}, accept=True)
    drain(runners)
    assert Action.objects.get(pk=other.pk).state == "completed"
    heard.set()
    for runner in runners:
        runner.stop()


def drain(runners: list[Runner]) -> None:
    while sum(runner.drain() for runner in runners):
        pass


@st.composite
def graphs(draw):
    """A graph of up to seven steps, in which one may fail."""
    count = draw(st.integers(1, 7))
    after = [sorted(draw(st.sets(st.integers(1, n), max_size=2))) if n else [] for n in range(count)]
    return after, draw(st.none() | st.integers(1, count))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
def test_whatever_the_graph_and_whichever_step_fails_all_or_nothing_remains(committed_cast, ledger, example):
    after, fails = example
    if ledger.exists():
        ledger.unlink()
    with registry.register_executor(LedgerExecutor()):
        action = run(committed_cast, after, **({"fail_at": fails} if fails else {}))
    assert doubles(ledger) == []
    if fails is None:
        assert action.state == "completed"
        assert balance(ledger) == {f"cell-{n}": 1 for n in range(1, len(after) + 1)}
    else:
        assert action.state in ("failed", "rolled_back")
        assert balance(ledger) == {}
    place = {e["cell"]: n for n, e in enumerate(e for e in read_ledger(ledger) if e["verb"] == "do")}
    for n, earlier in enumerate(after, 1):
        for m in earlier:
            assert f"cell-{n}" not in place or place[f"cell-{m}"] < place[f"cell-{n}"]


def test_an_order_that_is_none_is_refused_with_the_steps_it_names():
    a = {"key": "a", "after": ["b"]}
    b = {"key": "b", "after": ["a"]}
    with pytest.raises(PlanRefused, match="wait for one another: a, b"):
        order_steps(Draft([], [], [a, b], order="graph"))
    with pytest.raises(PlanRefused, match="comes after z, which the plan does not have"):
        order_steps(Draft([], [], [{"key": "a", "after": ["z"]}], order="graph"))


def test_a_graph_is_put_in_an_order_that_can_be_undone_backward():
    steps = [{"key": "c", "after": ["a", "b"]}, {"key": "b", "after": ["a"]}, {"key": "a"}]
    assert [s["key"] for s in order_steps(Draft([], [], steps, order="graph"))] == ["a", "b", "c"]
    listed = order_steps(Draft([], [], [{"key": "a"}, {"key": "b", "after": []}]))
    assert [s["after"] for s in listed] == [[], ["a"]]

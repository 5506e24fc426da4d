"""A policy that would eat time or memory: cut off within its bound, denies, and costs the worker nothing else.

One batch holds the bomb's own tenant and another one. Time, the worker's memory and that of the evaluating process are
measured, by the kernel's own counts.
"""

import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actions.engine.runner import Runner
from approvals.models import Policy, PolicyVersion
from approvals.policies.active_policies import bump_epoch
from approvals.policies.sandbox import process as cells
from approvals.policies.sandbox.process import MAX_MEMORY_BYTES, MAX_S, SandboxProcess
from approvals.policies.sandbox.worker import MAX_CHARACTERS
from audit.database.clock import database_time
from tests.actions.factory import edit, propose, root_of, with_rules
from tests.cast import make_cast
from tests.policies.test_sandbox import LIST, SAMPLE, nested
from tests.support.processes import wait_for

RESTART_S = 4.0
"""To start the process anew, on a busy machine."""
WORKER_BYTES = 32 * 2**20
BOMBS = {
    "loops": nested(7),
    "filters": f"{LIST}.map(a, {LIST}.map(b, {LIST}.map(c, {LIST}.map(d, {LIST}.map(e, 1))))).size() > 0",
    "doubling texts": "['aaaaaaaa']" + ".map(x, x + x)" * 28 + ".size() > 0",
    "doubling lists": "[[1, 2, 3, 4, 5, 6, 7, 8]]" + ".map(x, x + x)" * 28 + ".size() > 0",
    "sum": "+".join(["1"] * 1_900) + " > 0",
    "brackets": "(" * 900 + "true" + ")" * 900,
    "negations": "!" * 3_999 + "true",
    "choices": "true ? " * 280 + "true" + " : true" * 280,
    "a regex": "('a' + '" + "a" * 3_000 + "').matches('(a*)*(a*)*(a*)*(a|a)*$b')",
}


def resident(pid: int | str = "self") -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@contextmanager
def watched(cell: SandboxProcess) -> Iterator[list[int]]:
    """The sizes that the evaluating process was seen at, whichever process that is at the time."""
    seen, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            process = cell._process
            try:
                seen.append(resident(process.pid) if process is not None else 0)
            except (OSError, ValueError, IndexError):  # it has just died
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    over.set()
    thread.join()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_cut_off_in_time_and_memory_and_the_next_one_is_judged(name):
    cell = SandboxProcess()
    try:
        assert cell.evaluate(["true"], SAMPLE)[0].value is True
        ready, before = resident(cell._process.pid), resident()
        with watched(cell) as sizes:
            began = time.monotonic()
            before_it, blown, after_it = cell.evaluate(["plan.deletes == 1", BOMBS[name], "plan.deletes == 1"], SAMPLE)
            took = time.monotonic() - began
        assert (before_it.value, after_it.value) == (True, True)
        assert len(BOMBS[name]) <= MAX_CHARACTERS, "else it is refused for its length alone"
        if name not in ("a regex", "choices", "negations"):  # these the library may take in its stride
            assert blown.value is None and blown.error
        assert took < MAX_S + RESTART_S
        assert max(sizes) < ready + MAX_MEMORY_BYTES + 16 * 2**20
        assert resident() - before < WORKER_BYTES
        assert cell.evaluate(["true"], SAMPLE)[0].value is True
    finally:
        cell.close()


def test_what_hangs_is_cut_off_at_its_bound_and_costs_the_next_one_nothing():
    cell = SandboxProcess()
    try:
        assert cell.evaluate(["true"], SAMPLE)[0].value is True
        hanging = cell._process
        hanging.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        (hung,) = cell.evaluate(["true"], SAMPLE)
        took = time.monotonic() - began
        assert hung.value is None and hung.error == f"It was cut off after {MAX_S:g} s."
        assert MAX_S <= took < MAX_S + 1 and hanging.poll() is not None
        assert cell.evaluate(["true"], SAMPLE)[0].value is True
    finally:
        cell.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["loops", "doubling texts", "sum"])
def test_a_bomb_in_force_denies_its_own_tenants_actions_and_no_others(tmp_path, transactional_db, name):
    """As if it had been published before this version of the library; three actions against one bystander each."""
    cast = make_cast(with_rules)
    policy = Policy.objects.create(tenant=cast.acme, home=cast.acme, slug="bomb")
    PolicyVersion.objects.create(
        policy=policy,
        version=1,
        expression=BOMBS[name],
        effect="warn",
        message="boom",
        state="published",
        published_at=database_time(),
    )
    bump_epoch(cast.acme.pk)
    (root_of(cast.dev) / "app.conf").write_text("before\n")
    (root_of(cast.globex_prod) / "app.conf").write_text("before\n")
    theirs = [propose(cast, environment="dev", parameters=edit(), accept=True) for _ in range(3)]
    others = [propose(cast, "outsider", environment="prod", parameters=edit(), accept=True) for _ in range(3)]
    runner, before, began = Runner("decide"), resident(), time.monotonic()
    assert cells.evaluate_expressions(["true"], SAMPLE)[0].value is True
    while runner.drain():
        pass
    runner.stop()
    took = time.monotonic() - began
    for action in [*theirs, *others]:
        action.refresh_from_db()
    assert {action.state for action in theirs} == {"denied"} and {action.state for action in others} == {
        "awaiting_approval"
    }
    words = theirs[0].error["message"]
    assert words.startswith("It could not be evaluated: ") and words.endswith("A policy that fails to evaluate denies.")
    assert theirs[0].error["details"] == {"rule": "policy bomb v1"}
    assert took < len(theirs) * (MAX_S + RESTART_S) and resident() - before < WORKER_BYTES
    assert (root_of(cast.dev) / "app.conf").read_text() == "before\n"
    wait_for(lambda: cells.evaluate_expressions(["true"], SAMPLE)[0].value is True, 1, "a sound evaluation afterwards")

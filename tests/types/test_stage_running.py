"""`rerun_deployment_stage` when commands fail, hang, flood or are killed, and when the worker that ran them dies."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actions.types.conformance import ExecutorCase
from actions.types.protocol import Outcome, PlanRefused, Probe, StepContext
from actions.types.rerun_deployment_stage import RerunDeploymentStage, apply
from tests.support.waiting import wait_for
from tests.types.deployed import SECRET, Shop, note, script


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    for process in [*made.keepers(), *made.processes("migrate")]:
        process.kill()


def only(case: ExecutorCase, **more: Any) -> StepContext:
    (ctx,) = case.contexts(case.plan(), **more)
    return ctx


def refusal(shop: Shop, stage: str = "migrate", **more: Any) -> str:
    with pytest.raises(PlanRefused) as refused:
        shop.case(stage, **more).plan()
    return str(refused.value)


def slow(seconds: float, word: str = "migrate") -> list[str]:
    return script(
        f"import time; time.sleep({seconds}); open('effects', 'a').write('{word}\\n'); print('done', flush=True)"
    )


def test_a_failed_stage_succeeds_and_its_output_is_logged_and_masked(shop: Shop) -> None:
    shop.stages[1]["command"] = script("import os; print('password:', os.environ['DB_PASSWORD']); print('migrated')")
    lines: list[str] = []
    used: dict[str, float] = {}
    outcome = RerunDeploymentStage().apply(only(shop.case(), log=lines.append, measure=used.update))
    assert outcome.ok and outcome.facts["exit_code"] == 0
    assert used["cpu_s"] > 0.005 and used["peak_memory_bytes"] > 1_000_000, "what the command used is told"
    assert "migrated" in lines and SECRET not in "".join(lines)
    assert shop.result("migrate") == "succeeded" and shop.state()["commit"] == "4f2a9c", "what else is there is kept"
    assert shop.left() == [], "nothing of the order is left"


def test_a_command_that_fails_says_its_exit_code_and_is_not_run_again_for_the_same_step(shop: Shop) -> None:
    shop.stages[1]["command"] = script("open('effects', 'a').write('tried\\n'); raise SystemExit(7)")
    case = shop.case(and_following=True)
    first, second = case.contexts(case.plan())
    outcomes = [case.executor.apply(first), case.executor.apply(first)]
    assert {(o.ok, o.code, o.retryable, o.facts["exit_code"]) for o in outcomes} == {(False, "stage_failed", False, 7)}
    assert case.executor.probe(first) == Probe.NOT_DONE
    assert shop.effects() == ["tried"] and shop.result("migrate") == "failed"
    assert case.executor.apply(second).code == "precondition", "the stage after it waits for it"


def test_a_failed_stage_can_be_proposed_again_and_then_succeeds(shop: Shop) -> None:
    flaky = "import os\nif not os.path.exists('ready'): open('ready', 'w'); raise SystemExit(1)"
    shop.stages[1]["command"] = script(flaky)
    assert RerunDeploymentStage().apply(only(shop.case())).code == "stage_failed"
    second = only(shop.case())
    second.step["idempotency_key"] = "the next action"
    assert RerunDeploymentStage().apply(second).ok and shop.result("migrate") == "succeeded"


def test_a_stage_that_takes_too_long_is_killed_with_all_it_started(shop: Shop) -> None:
    stubborn = (
        "import os, signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '600'], start_new_session=True)\ntime.sleep(600)"
    )
    shop.stages[1] |= {"command": script(stubborn), "timeout_s": 1}
    outcome = RerunDeploymentStage().apply(only(shop.case()))
    assert (outcome.code, outcome.facts["ended"]) == ("stage_timeout", "timeout")
    assert shop.processes("migrate") == [] and shop.keepers() == []


def test_an_abort_stops_the_command_and_leaves_the_stage_to_be_run_again(shop: Shop) -> None:
    shop.stages[1]["command"] = slow(600)
    stop = threading.Event()
    ctx = only(shop.case(), stopping=stop.is_set)
    threading.Timer(0.5, stop.set).start()
    outcome = RerunDeploymentStage().apply(ctx)
    assert (outcome.ok, outcome.code) == (False, "stopped")
    assert RerunDeploymentStage().probe(ctx) == Probe.NOT_DONE and shop.result("migrate") == "failed"
    assert shop.processes("migrate") == []


def test_an_abort_does_not_stop_the_way_back(shop: Shop) -> None:
    case = shop.case()
    draft = case.plan()
    case.run(draft)
    (ctx,) = case.contexts(draft, stopping=lambda: True)
    assert case.executor.compensate(ctx).ok
    assert shop.effects() == ["migrate", "undo-migrate"] and shop.result("migrate") == "failed"


def test_the_time_of_the_action_ends_the_command_too(shop: Shop) -> None:
    shop.stages[1]["command"] = slow(600)
    outcome = RerunDeploymentStage().apply(only(shop.case(), deadline=time.monotonic() + 0.5))
    assert outcome.code == "stopped" and shop.processes("migrate") == []


def in_a_worker_that_dies(ctx: StepContext, after_s: float) -> None:
    """Begin a step in a process with a session of its own, and kill that with everything in it."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        threading.Timer(after_s, lambda: os.killpg(0, signal.SIGKILL)).start()
        RerunDeploymentStage().apply(ctx)
        os._exit(0)
    os.waitpid(pid, 0)


def test_a_command_outlives_its_worker_and_the_next_one_attends_it_to_its_end(shop: Shop) -> None:
    shop.stages[1]["command"] = slow(2)
    lines: list[str] = []
    ctx = only(shop.case(), log=lines.append)
    in_a_worker_that_dies(ctx, 0.7)
    assert shop.result("migrate") == "running" and len(shop.keepers()) == 1
    assert RerunDeploymentStage().probe(ctx) == Probe.NOT_DONE
    assert "running" in refusal(shop, "migrate"), "nobody else begins meanwhile"
    assert RerunDeploymentStage().apply(ctx).ok
    assert shop.effects() == ["migrate"], "once"
    assert lines == ["taken up where an earlier worker left it", "done"]
    assert RerunDeploymentStage().probe(ctx) == Probe.DONE


def test_a_command_that_ended_while_nobody_looked_is_not_run_again(shop: Shop) -> None:
    shop.stages[1]["command"] = slow(1)
    ctx = only(shop.case())
    in_a_worker_that_dies(ctx, 0.5)
    wait_for(lambda: not shop.keepers(), 10, "the command to end")
    assert RerunDeploymentStage().apply(ctx).ok
    assert shop.effects() == ["migrate"] and shop.result("migrate") == "succeeded"


def kill_all_of_it(shop: Shop, ctx: StepContext) -> None:
    """As if the machine had gone down in the middle of the command."""
    in_a_worker_that_dies(ctx, 0.7)
    for process in [*shop.keepers(), *shop.processes("migrate")]:
        process.kill()
    wait_for(lambda: not shop.keepers(), 10, "the keeper to die")


def test_a_command_that_nobody_saw_end_is_in_doubt_without_a_check(shop: Shop) -> None:
    shop.stages[1]["command"] = slow(600)
    ctx = only(shop.case())
    kill_all_of_it(shop, ctx)
    assert RerunDeploymentStage().probe(ctx) == Probe.UNKNOWN
    outcome = RerunDeploymentStage().apply(ctx)
    assert (outcome.ok, outcome.code) == (False, "in_doubt") and shop.effects() == []


@pytest.mark.parametrize(("answer", "effects"), [(0, []), (1, ["migrate"])])
def test_a_check_settles_what_nobody_saw(shop: Shop, answer: int, effects: list[str]) -> None:
    first = "import os, time\nif not os.path.exists('second'): open('second', 'w'); time.sleep(600)\n"
    shop.stages[1]["command"] = script(first + "open('effects', 'a').write('migrate\\n')")
    shop.stages[1]["check"] = script(f"raise SystemExit({answer})")
    ctx = only(shop.case())
    kill_all_of_it(shop, ctx)
    assert RerunDeploymentStage().probe(ctx) == Probe.NOT_DONE, "apply knows how to go on"
    assert RerunDeploymentStage().apply(ctx).ok
    assert shop.effects() == effects and shop.result("migrate") == "succeeded"


def test_two_keepers_for_one_order_run_the_command_once(shop: Shop) -> None:
    shop.stages[1]["command"] = slow(0.3)
    ctx = only(shop.case())
    launched = apply.start_runner

    def twice(fd: int) -> Any:
        first, second = launched(fd), launched(fd)
        second.wait()
        return first

    apply.start_runner = twice
    try:
        assert RerunDeploymentStage().apply(ctx).ok
    finally:
        apply.start_runner = launched
    assert shop.effects() == ["migrate"]


def test_another_action_finds_the_deployment_busy(shop: Shop) -> None:
    shop.stages[1]["command"] = slow(4)
    one, other = only(shop.case()), only(shop.case())
    other.step = {**other.step, "idempotency_key": "another action"}
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(RerunDeploymentStage().apply(one)))
    thread.start()
    wait_for(lambda: shop.result("migrate") == "running", 10, "the first to begin")
    outcome = RerunDeploymentStage().apply(other)
    assert (outcome.code, outcome.retryable) == ("busy", True)
    thread.join()
    assert found[0].ok and shop.effects() == ["migrate"]


def test_a_flood_of_output_is_cut_and_hurts_nobody(shop: Shop) -> None:
    shop.stages[1]["command"] = script("import sys\nfor n in range(400): sys.stdout.write(('x' * 99 + chr(10)) * 1000)")
    lines: list[str] = []
    assert RerunDeploymentStage().apply(only(shop.case(), log=lines.append)).ok
    assert sum(map(len, lines)) < 9 << 20 and any("cut here" in line for line in lines)


def test_arguments_are_never_read_by_a_shell_and_nothing_of_interlock_is_passed_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERLOCK_KEK", "the key of keys")
    told = "import os, sys, json; json.dump([sys.argv[1:], dict(os.environ)], open('told', 'w'))"
    shop.stages[1]["command"] = [*script(told), "$(touch pwned)", "; touch pwned", "a b"]
    assert RerunDeploymentStage().apply(only(shop.case())).ok
    assert not list(shop.root.rglob("pwned"))
    words, environment = eval((shop.home / "told").read_text())
    assert words == ["$(touch pwned)", "; touch pwned", "a b"]
    assert "INTERLOCK_KEK" not in environment and "DATABASE_URL" not in environment
    assert (environment["INTERLOCK_STAGE"], environment["DB_PASSWORD"]) == ("migrate", SECRET)


def test_a_command_that_does_not_exist_says_so(shop: Shop) -> None:
    shop.stages[1]["command"] = ["./no-such-thing"]
    outcome = RerunDeploymentStage().apply(only(shop.case()))
    assert outcome.code == "not_started" and "No such file" in outcome.message


def test_a_stage_without_an_undo_is_irreversible_and_says_so(shop: Shop) -> None:
    shop.stages[1]["undo"] = None
    case = shop.case()
    draft = case.plan()
    assert draft.compensations[0]["kind"] == "irreversible"
    case.run(draft)
    assert RerunDeploymentStage().compensate(case.contexts(draft)[0]).code == "irreversible"
    with pytest.raises(PlanRefused, match="No command is declared that undoes"):
        case.executor.plan_undo(case.steps(draft), case.target, draft.before_images.get)
    assert shop.effects() == ["migrate"]


def test_an_undo_that_fails_is_left_to_a_person(shop: Shop) -> None:
    shop.stages[1]["undo"] = script("raise SystemExit(2)")
    case = shop.case()
    draft = case.plan()
    case.run(draft)
    outcome = case.executor.compensate(case.contexts(draft)[0])
    assert (outcome.code, shop.result("migrate")) == ("undo_failed", "undo_failed")
    assert case.executor.probe_undo(case.contexts(draft)[0]) == Probe.NOT_DONE


def test_earlier_stages_and_success_are_looked_at(shop: Shop) -> None:
    assert "migrate comes before it and has not succeeded" in refusal(shop, "publish")
    assert "succeeded already. Set force" in refusal(shop, "build")
    assert RerunDeploymentStage().level_of({"force": True}) == "high"
    case = shop.case("build", force=True)
    case.run(case.plan())
    assert shop.effects() == ["build"]


def test_a_stage_declared_otherwise_since_the_plan_is_not_run(shop: Shop) -> None:
    ctx = only(shop.case())
    shop.stages[1]["command"] = note("other")
    assert RerunDeploymentStage().apply(ctx).code == "settings"
    assert RerunDeploymentStage().probe(ctx) == Probe.UNKNOWN and shop.effects() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "has not run yet"), ("{", "not valid JSON"), ('{"stages": {}}', "format"), ('{"format": 3}', "format")],
)
def test_a_state_that_cannot_be_read_is_told(shop: Shop, text: str | None, words: str) -> None:
    path = shop.home / "state.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert words in refusal(shop)


def test_a_deployment_outside_the_root_or_behind_a_link_is_refused(shop: Shop, tmp_path: Path) -> None:
    shop.settings["root"] = "../elsewhere"
    assert "climbs" in refusal(shop)
    shop.settings["root"] = "linked"
    (tmp_path / "linked").symlink_to("/etc")
    assert "symbolic link" in refusal(shop)


def test_every_code_has_a_strategy() -> None:
    assert set(RerunDeploymentStage.error_strategies.values()) <= {"retry", "fallback", "skip", "abort"}

"""`redeploy_service` when things die: the worker between two steps, the supervisor, the new release."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from supervisor.states import ProcessStates

from actions.types.conformance import ExecutorCase
from actions.types.protocol import Draft, PlanRefused, Probe, StepContext
from actions.types.redeploy_service import supervisor as redeploy_service_supervisor
from actions.types.redeploy_service.supervisor import OURS, SERVICE, environment_of
from tests.support.waiting import wait_for
from tests.types.supervised import Web, ended


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with ended(Web(tmp_path)) as made:
        made.lay("r1")
        made.deploy("r1")
        yield made


def step_of(case: ExecutorCase, draft: Draft, op: str, **more: Any) -> StepContext:
    return next(ctx for ctx in case.contexts(draft, **more) if ctx.step["spec"]["op"] == op)


def test_a_crash_between_switch_and_restart_goes_on_without_a_second_switch_or_start(web: Web) -> None:
    web.lay("r2")
    case = web.case(release="r2")
    draft = case.plan()
    switch, restart, gate = case.contexts(draft)
    assert case.executor.apply(switch).ok
    assert [case.executor.probe(ctx) for ctx in (switch, restart, gate)] == [Probe.DONE, Probe.NOT_DONE, Probe.NOT_DONE]
    assert web.running() == ["r1"] and web.starts() == ["r1"], "what runs is what the record says, not the link"
    assert case.executor.apply(restart).ok
    pid = supervised_pid(web)
    assert case.executor.probe(restart) == Probe.DONE
    again = case.executor.apply(restart)
    assert again.ok and again.facts == {"changed": False}
    assert case.executor.apply(gate).ok
    assert supervised_pid(web) == pid and web.starts() == ["r1", "r2"]


def test_a_worker_killed_while_it_restarts_leaves_a_state_that_the_next_finishes(web: Web) -> None:
    web.lay("r2")
    case = web.case(release="r2")
    switch, restart, gate = case.contexts(case.plan())
    assert case.executor.apply(switch).ok
    pid = os.fork()
    if pid == 0:  # the worker: dies after it has written its intent into the record, before anything is started
        redeploy_service_supervisor.Supervisor.start = lambda *args: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        case.executor.apply(restart)
        os._exit(0)
    os.waitpid(pid, 0)
    assert web.record()["token"] == restart.idempotency_key and web.running() == ["r1"]
    assert case.executor.probe(restart) == Probe.NOT_DONE
    assert case.executor.apply(restart).ok and case.executor.apply(gate).ok
    assert web.running() == ["r2"] and web.starts() == ["r1", "r2"]


def test_after_that_crash_the_way_back_ends_on_the_release_before(web: Web) -> None:
    before = web.snapshot()
    web.lay("r2")
    laid = web.snapshot()
    case = web.case(release="r2")
    draft = case.plan()
    switch, restart, _ = case.contexts(draft)
    assert case.executor.apply(switch).ok and case.executor.apply(restart).ok
    record = web.record()
    web_was_on = (web.current(), web.running())
    assert web_was_on == ("releases/r2", ["r2"]) and record["release"] == "r2"
    assert case.executor.compensate(switch).ok, "the restart has no receipt, so only the switch is taken back"
    assert case.executor.probe_undo(switch) == Probe.DONE
    assert web.snapshot() == laid and before["runs"] == ["r1"]
    assert web.record()["token"] == draft_token(draft)


def test_an_unhealthy_release_gives_way_to_the_one_before(web: Web) -> None:
    web.lay("r2", status=500)
    web.settings["health_deadline_s"] = 1
    case = web.case(release="r2")
    draft, lines = case.plan(), list[str]()
    switch, restart, gate = case.contexts(draft, log=lines.append)
    assert case.executor.apply(switch).ok and case.executor.apply(restart).ok
    outcome = case.executor.apply(gate)
    assert (outcome.ok, outcome.code, outcome.retryable) == (False, "unhealthy", False)
    assert "status 500" in outcome.message
    assert case.executor.probe(gate) == Probe.NOT_DONE
    assert case.executor.compensate(restart).ok and case.executor.compensate(switch).ok
    assert (web.current(), web.running()) == ("releases/r1", ["r1"])
    assert {case.executor.probe_undo(ctx) for ctx in (switch, restart, gate)} == {Probe.DONE}
    assert web.starts() == ["r1", "r2", "r1"]
    assert case.executor.error_strategies["unhealthy"] == "fallback"  # type: ignore[attr-defined]


def test_an_abort_does_not_stop_the_way_back(web: Web) -> None:
    web.lay("r2")
    case = web.case(release="r2")
    draft = case.plan()
    case.run(draft)
    for ctx in reversed(case.contexts(draft, stopping=lambda: True)):
        assert case.executor.compensate(ctx).ok
    assert (web.current(), web.running()) == ("releases/r1", ["r1"])


def test_a_release_that_dies_at_once_is_told_with_its_last_words_and_taken_back(web: Web) -> None:
    web.lay("r2", text="import os\nraise SystemExit('no database: password=' + os.environ['API_PASSWORD'])\n")
    case = web.case(release="r2")
    draft, lines = case.plan(), list[str]()
    outcomes = []
    for ctx in case.contexts(draft, log=lines.append):
        outcomes.append(case.executor.apply(ctx))
        if not outcomes[-1].ok:
            break
    assert outcomes[-1].code in ("does_not_start", "unhealthy"), outcomes
    assert any("no database" in line for line in lines)
    assert not any(web.settings["environment"]["API_PASSWORD"] in line for line in lines), "masked"
    case.undo(draft)
    assert (web.current(), web.running()) == ("releases/r1", ["r1"])


def test_a_previous_release_that_is_not_well_either_is_left_to_a_person(web: Web) -> None:
    web.lay("r2", status=500)
    web.settings["health_deadline_s"] = 1
    case = web.case(release="r2")
    switch, restart, gate = case.contexts(case.plan())
    assert case.executor.apply(switch).ok and case.executor.apply(restart).ok and not case.executor.apply(gate).ok
    server = web.home / "releases/r1/server.py"
    server.write_text(server.read_text().replace("STATUS, LINGER = 200", "STATUS, LINGER = 503"))
    outcome = case.executor.compensate(restart)
    assert (outcome.ok, outcome.code) == (False, "previous_unhealthy")
    assert "Release r1 is restored, but also unhealthy" in outcome.message
    assert web.running() == ["r1"]


def test_a_supervisor_that_was_killed_leaves_the_service_up_and_the_next_deployment_takes_over(web: Web) -> None:
    (supervisor,) = web.supervisors()
    (orphan,) = web.processes(SERVICE)
    supervisor.kill()
    wait_for(lambda: not web.supervisors(), 10, "the supervisor to die")
    assert web.running() == ["r1"], "the service outlives its supervisor"
    web.lay("r2")
    case = web.case(release="r2")
    case.run(case.plan())
    assert web.running() == ["r2"] and len(web.supervisors()) == 1
    assert not redeploy_service_supervisor.is_alive(orphan), "no two releases run beside each other"


def test_a_supervisor_that_hangs_is_replaced(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redeploy_service_supervisor, "ANSWER_S", 0.3)
    (hung,) = web.supervisors()
    hung.suspend()
    web.lay("r2")
    case = web.case(release="r2")
    case.run(case.plan())
    assert web.running() == ["r2"] and [p.pid for p in web.supervisors()] != [hung.pid]


def test_a_service_that_crashes_is_started_again_by_its_supervisor_with_the_same_release(web: Web) -> None:
    first = supervised_pid(web)
    psutil.Process(first).kill()
    wait_for(lambda: web.starts() == ["r1", "r1"], 10, "the supervisor to start it again")
    wait_for(lambda: web.running() == ["r1"] and supervised_pid(web) != first, 10, "the new process")


def test_a_service_that_ignores_sigterm_is_killed_after_its_grace(web: Web) -> None:
    web.settings["grace_s"] = 1
    web.lay("stubborn", linger=600)
    web.deploy("stubborn")
    stubborn = supervised_pid(web)
    web.lay("r2")
    case = web.case(release="r2")
    began = time.monotonic()
    case.run(case.plan())
    assert 1 <= time.monotonic() - began < 8
    assert web.running() == ["r2"] and not redeploy_service_supervisor.is_alive(stubborn)


def test_the_service_and_its_supervisor_outlive_the_worker_and_know_none_of_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERLOCK_KEK", "the key of keys")
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    with ended(Web(tmp_path)) as web:
        web.lay("r1")
        pid = os.fork()
        if pid == 0:  # a worker of its own session, which is killed with its whole group
            os.setsid()
            web.deploy("r1")
            os.killpg(0, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert web.running() == ["r1"] and len(web.supervisors()) == 1
        for process in web.processes(SERVICE) + web.processes(OURS):
            said = environment_of(process)
            assert "DATABASE_URL" not in said and "INTERLOCK_KEK" not in said
            assert os.getsid(process.pid) != os.getsid(0)


def test_a_service_whose_release_before_did_not_run_may_go_back_to_that(web: Web) -> None:
    (web.home / "releases/r1/server.py").write_text("raise SystemExit('broken by hand')\n")
    (process,) = web.processes(SERVICE)
    process.kill()
    wait_for(lambda: supervising_state(web) == ProcessStates.FATAL, 20, "the supervisor to give up")
    web.lay("r2", status=500)
    web.settings["health_deadline_s"] = 1
    case = web.case(release="r2")
    draft = case.plan()
    switch, restart, gate = case.contexts(draft)
    assert case.executor.apply(switch).ok and case.executor.apply(restart).ok and not case.executor.apply(gate).ok
    assert draft.observations["running"] is False
    assert case.executor.apply(gate).code == "unhealthy"
    outcome = case.executor.compensate(restart)
    assert outcome.code == "previous_unhealthy", "it had passed its gate once, so somebody should look"
    assert case.executor.probe_undo(restart) == Probe.DONE
    assert web.current() == "releases/r1"


def test_a_deployment_by_somebody_else_meanwhile_is_not_overwritten(web: Web) -> None:
    web.lay("r2")
    web.lay("r3")
    case = web.case(release="r2")
    draft = case.plan()
    case.run(draft)
    web.deploy("r3")
    theirs = web.snapshot()
    assert {case.executor.compensate(ctx).code for ctx in case.contexts(draft)} == {"precondition"}
    assert {case.executor.probe_undo(ctx) for ctx in case.contexts(draft)} == {Probe.UNKNOWN}
    with pytest.raises(PlanRefused, match="redeployed since"):
        case.executor.plan_undo(case.steps(draft), case.target, draft.before_images.get)
    assert web.snapshot() == theirs


def draft_token(draft: Draft) -> str:
    return str(draft.steps[0]["spec"]["before"]["token"])


def supervising_state(web: Web) -> int | None:
    control = os.open(web.home / ".interlock-service", os.O_RDONLY)
    try:
        return redeploy_service_supervisor.Supervisor(control).state()
    finally:
        os.close(control)


def supervised_pid(web: Web) -> int:
    (process,) = web.processes(SERVICE)
    return int(process.pid)

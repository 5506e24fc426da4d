"""What `redeploy_service` refuses, shows and keeps: hostile parameters, drift, settings, old releases."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actions.types.conformance import ExecutorCase
from actions.types.protocol import PlanRefused, Probe, StepContext
from actions.types.redeploy_service import RedeployService
from audit.changes.document import text_diff
from tests.types.supervised import SECRET, Web, ended


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with ended(Web(tmp_path)) as made:
        made.lay("r1")
        yield made


def contexts(case: ExecutorCase) -> dict[str, StepContext]:
    return {ctx.step["spec"]["op"]: ctx for ctx in case.contexts(case.plan())}


def refusal(web: Web, **parameters: str) -> str:
    with pytest.raises(PlanRefused) as refused:
        web.case(**parameters).plan()
    return str(refused.value)


def test_the_reviewer_sees_the_files_and_what_is_run_before_and_after(web: Web) -> None:
    web.deploy("r1")
    web.lay("artifacts/shop/web-2", linger=0.1)
    draft = web.case(artifact="shop/web-2").plan()
    files, process = draft.changes
    diff = text_diff(files) + text_diff(process)
    (release,) = [s["spec"]["release"] for s in draft.steps if s["spec"]["op"] == "copy"]
    assert "-release: r1\n" in diff and f"+release: {release}\n" in diff
    assert "  0644  server.py" in diff and "  0644  static/about.txt" in diff
    assert "API_PASSWORD: ⟦secret:" in str(process.after) and SECRET not in repr(draft)
    assert draft.summary == f"Redeploy web in dev: r1 → {release}"
    assert [s["spec"]["op"] for s in draft.steps] == ["copy", "switch", "restart", "gate"]
    assert {c["kind"] for c in draft.compensations} == {"reversible"}
    assert draft.resources == [{"kind": "service", "name": "dev:web"}]


def test_the_release_that_runs_is_restarted(web: Web) -> None:
    web.deploy("r1")
    case = web.case(release="r1")
    draft = case.plan()
    assert [s["spec"]["op"] for s in draft.steps] == ["restart", "gate"]
    assert draft.summary == "Restart web in dev on release r1" and len(draft.changes) == 1
    (before,) = web.processes("INTERLOCK_SERVICE")
    case.run(draft)
    case.run(draft)
    (after,) = web.processes("INTERLOCK_SERVICE")
    assert after.pid != before.pid and web.starts() == ["r1", "r1"]


def test_an_artifact_that_changed_since_the_plan_is_not_taken(web: Web) -> None:
    artifact = web.lay("artifacts/web-2")
    steps = contexts(web.case(artifact="web-2"))
    (artifact / "server.py").write_text("swapped after the review\n")
    outcome = RedeployService().apply(steps["copy"])
    assert (outcome.ok, outcome.code) == (False, "content")
    assert os.listdir(web.home / "releases") == ["r1"], "and nothing half copied is left"
    assert RedeployService().probe(steps["copy"]) == Probe.NOT_DONE


def test_the_same_artifact_is_copied_once(web: Web) -> None:
    web.lay("artifacts/web-2")
    case = web.case(artifact="web-2")
    case.run(case.plan())
    assert [s["spec"]["op"] for s in case.plan().steps] == ["restart", "gate"]


def test_a_release_that_was_changed_since_the_plan_is_not_switched_to(web: Web) -> None:
    release = web.lay("r2")
    steps = contexts(web.case(release="r2"))
    (release / "static/about.txt").write_text("swapped\n")
    assert RedeployService().apply(steps["switch"]).code == "precondition"
    assert web.current() is None


def test_another_release_on_the_way_makes_another_plan(web: Web) -> None:
    web.lay("r2")
    first = web.case(release="r2").plan()
    web.deploy("r1")
    second = web.case(release="r2").plan()
    assert first.preconditions != second.preconditions and first.steps != second.steps


def test_settings_that_changed_since_the_plan_start_nothing(web: Web) -> None:
    steps = contexts(web.case(release="r1"))
    web.settings["command"] = ["touch", str(web.root / "pwned")]
    executor = RedeployService()
    assert executor.apply(steps["switch"]).ok
    assert executor.apply(steps["restart"]).code == "settings"
    assert not (web.root / "pwned").exists() and web.running() == []


def test_a_command_is_never_read_by_a_shell(web: Web) -> None:
    odd = ["$(touch pwned)", "; touch pwned", "`touch pwned`", "a b", "100%", "%(here)s", "'\""]
    web.settings["command"] = [*web.settings["command"], *odd]
    case = web.case(release="r1")
    case.run(case.plan())
    (process,) = web.processes("INTERLOCK_SERVICE")
    assert process.cmdline()[-len(odd) :] == odd
    assert not list(web.root.rglob("pwned"))


def test_links_in_an_artifact_or_on_the_way_are_refused(web: Web) -> None:
    (web.lay("artifacts/web-2") / "secrets").symlink_to("/etc/shadow")
    assert "secrets is a symbolic link" in refusal(web, artifact="web-2")
    (web.root / "artifacts/elsewhere").symlink_to("/etc")
    assert "symbolic link" in refusal(web, artifact="elsewhere")
    (web.home / "releases/linked").symlink_to("/etc")
    assert "symbolic link" in refusal(web, release="linked")
    os.mkfifo(web.lay("artifacts/web-3") / "pipe")
    assert "device, socket or pipe" in refusal(web, artifact="web-3")


def test_a_current_that_leads_elsewhere_is_not_followed(web: Web) -> None:
    (web.home / "current").symlink_to("/etc")
    assert "outside the service's releases" in refusal(web, release="r1")
    (web.home / "current").unlink()
    (web.home / "current").mkdir()
    assert "no symbolic link" in refusal(web, release="r1")


def test_a_control_directory_that_is_a_link_is_refused(web: Web, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (web.home / ".interlock-service").symlink_to(elsewhere)
    assert "symbolic link" in refusal(web, release="r1")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"root": "../web"}, "climbs"),
        ({"command": "python server.py"}, "command"),
        ({"command": []}, "command"),
        ({"health": {"url": "ftp://x.example/"}}, "http"),
        ({"health": {"host": "127.0.0.1"}}, "health"),
        ({"environment": {"INTERLOCK_SERVICE": "/"}}, "Interlock's own"),
        ({"environment": {"A=B": "c"}}, "environment"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_are_wrong_are_told_to_whoever_can_correct_them(
    web: Web, wrong: dict[str, Any], words: str
) -> None:
    web.settings |= wrong
    said = refusal(web, release="r1")
    assert words in said and "An admin corrects it." in said


def test_a_health_probe_that_this_environment_may_not_make_is_told_before_anything_runs(web: Web) -> None:
    case = web.case(release="r1")
    del case.target.settings["allow_private_targets"]
    (issue,) = case.executor.validate(case.parameters, case.target)
    assert "allow_private_targets" in issue.message


def test_old_releases_are_moved_aside_and_come_back_with_the_undo(web: Web) -> None:
    for name in ("r2", "r3", "r4"):
        web.lay(name)
    for n, name in enumerate(("r1", "r2", "r3", "r4")):
        os.utime(web.home / "releases" / name, (n, n))
    web.deploy("r1")
    web.settings["keep_releases"] = 2
    case = web.case(release="r4")
    draft = case.plan()
    assert draft.steps[-1]["spec"]["op"] == "prune" and draft.steps[-1]["compensation"]["kind"] == "reversible"
    before = web.snapshot()
    case.run(draft)
    assert sorted(os.listdir(web.home / "releases")) == ["r1", "r4"]
    undo = case.executor.plan_undo(case.steps(draft), case.target, draft.before_images.get)
    case.run(undo, undone=draft.before_images.get)
    assert web.snapshot() == before
    case.run(case.plan())
    web.lay("r5")
    lossy = web.case(release="r5").plan().steps[-1]
    assert lossy["compensation"]["kind"] == "lossy" and lossy["spec"]["purge"] == ["r2", "r3"]


def test_a_long_path_is_no_obstacle_to_the_supervisor(tmp_path: Path) -> None:
    root = tmp_path / ("deep/" * 30)
    root.mkdir(parents=True)
    with ended(Web(root)) as web:
        web.lay("r1")
        web.deploy("r1")
        assert len(str(web.home)) > 150 and web.running() == ["r1"]


def test_two_at_once_do_not_mix(web: Web) -> None:
    web.lay("r2")
    one, other = contexts(web.case(release="r1")), contexts(web.case(release="r2"))
    executor = RedeployService()
    assert executor.apply(one["switch"]).ok
    assert executor.apply(other["switch"]).code == "precondition"
    assert web.current() == "releases/r1"


def test_every_code_has_a_strategy() -> None:
    assert set(RedeployService.error_strategies.values()) <= {"retry", "fallback", "skip", "abort"}

"""A deployment for tests: three stages that are real commands, and count what they did in a file."""

import json
import sys
from pathlib import Path
from typing import Any

import psutil

from actions.types.conformance import ExecutorCase, target
from actions.types.protocol import Target
from actions.types.redeploy_service.supervisor import environment_of
from actions.types.rerun_deployment_stage import RerunDeploymentStage

SECRET = "hunter2-Zq8vT4nWx1"


def note(word: str) -> list[str]:
    """A command that adds one line to `effects`."""
    return [sys.executable, "-I", "-S", "-c", f"print({word!r}); open('effects', 'a').write({word + chr(10)!r})"]


def script(text: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", text]


class Shop:
    """The deployment `shop` below a root: build succeeded, migrate failed, publish did not run."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / "deployments/shop"
        self.home.mkdir(parents=True)
        self.stages: list[dict[str, Any]] = [
            {"name": name, "command": note(name), "undo": note(f"undo-{name}"), "timeout_s": 30}
            for name in ("build", "migrate", "publish")
        ]
        self.settings: dict[str, Any] = {"stages": self.stages, "environment": {"DB_PASSWORD": SECRET}}
        self.write(build={"result": "succeeded"}, migrate={"result": "failed", "exit_code": 3})

    def write(self, **stages: dict[str, Any]) -> None:
        state = {"format": "interlock.deployment/1", "commit": "4f2a9c", "stages": stages}
        (self.home / "state.json").write_text(json.dumps(state))

    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "state.json").read_text()))

    def result(self, stage: str) -> str:
        return str(self.state()["stages"].get(stage, {}).get("result", "not run"))

    def target(self) -> Target:
        return target(self.root, deployments={"shop": self.settings})

    def case(self, stage: str = "migrate", **more: Any) -> ExecutorCase:
        parameters = {"deployment": "shop", "stage": stage, **more}
        return ExecutorCase(RerunDeploymentStage(), self.target(), parameters, snapshot=self.snapshot)

    def snapshot(self) -> dict[str, Any]:
        """The results by stage and what was done; without keys and times, which each run has its own."""
        return {name: entry["result"] for name, entry in self.state()["stages"].items()} | {"done": self.done()}

    def effects(self) -> list[str]:
        path = self.home / "effects"
        return path.read_text().split() if path.exists() else []

    def done(self) -> dict[str, int]:
        """How often each stage was run and not undone."""
        found = self.effects()
        names = [stage["name"] for stage in self.stages]
        return {n: left for n in names if (left := found.count(n) - found.count(f"undo-{n}"))}

    def left(self) -> list[str]:
        control = self.home / ".interlock-stage"
        return sorted(p.name for p in control.iterdir() if p.name != "lock") if control.exists() else []

    def processes(self, stage: str) -> list[psutil.Process]:
        """What runs of a stage, and whatever that started."""
        return [
            p for p in psutil.process_iter() if environment_of(p).get("INTERLOCK_STAGE") == stage and self.is_here(p)
        ]

    def is_here(self, process: psutil.Process) -> bool:
        try:
            return process.cwd() == str(self.home)
        except psutil.Error:
            return False

    def keepers(self) -> list[psutil.Process]:
        return [
            p
            for p in psutil.process_iter()
            if str(self.home) in cmdline_of(p) and "detached_runner.py" in cmdline_of(p)
        ]


def cmdline_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""

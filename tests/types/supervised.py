"""A real service for tests: a tiny HTTP server in release directories, and its environment's settings.

Every start appends a line to `starts` below the root, so that a test can count them. What was started is stopped by
`ended`, whatever the test came to.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from actions.types.conformance import ExecutorCase, target
from actions.types.protocol import Target
from actions.types.redeploy_service import RedeployService
from actions.types.redeploy_service.supervisor import OURS, SERVICE, environment_of, ignore_process_errors
from tests.support.waiting import wait_for
from tests.types.trees import snapshot

SECRET = "hunter2-Zq8vT4nWx1"
SERVER = """\
import http.server, os, pathlib, signal, sys, time
STATUS, LINGER = {status}, {linger}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["INTERLOCK_RELEASE"].encode()
        self.send_response(STATUS); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
def leave(*args):
    time.sleep(LINGER); os._exit(0)
signal.signal(signal.SIGTERM, leave)
with open(sys.argv[2], "a") as starts: starts.write(os.environ["INTERLOCK_RELEASE"] + "\\n")
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Web:
    """A service `web` below a root, with what a test asks of it."""

    def __init__(self, root: Path, **more: Any) -> None:
        self.root, self.home, self.port = root, root / "services/web", free_port()
        (self.home / "releases").mkdir(parents=True)
        (root / "artifacts").mkdir()
        self.settings: dict[str, Any] = {
            "root": "services/web",
            "command": [sys.executable, "-I", "-S", "server.py", str(self.port), str(root / "starts")],
            "environment": {"API_PASSWORD": SECRET},
            "health": {"url": f"http://127.0.0.1:{self.port}/healthz", "timeout_s": 2},
            "healthy_after": 2,
            "health_interval_s": 0.05,
            "health_deadline_s": 10,
            "grace_s": 2,
            **more,
        }

    def target(self) -> Target:
        return target(self.root, allow_private_targets=True, services={"web": self.settings})

    def lay(self, where: str, status: int = 200, linger: float = 0, text: str = "") -> Path:
        """Write a release (or an artifact) that answers with a status and lingers when told to end."""
        path = self.root / where if where.startswith("artifacts/") else self.home / "releases" / where
        (path / "static").mkdir(parents=True)
        (path / "server.py").write_text(text or SERVER.format(status=status, linger=linger))
        (path / "static/about.txt").write_text(f"{where}\n")
        return path

    def case(self, **parameters: str) -> ExecutorCase:
        return ExecutorCase(RedeployService(), self.target(), {"service": "web", **parameters}, snapshot=self.snapshot)

    def deploy(self, release: str) -> None:
        """Run a release as an action would, under a token of its own."""
        case = self.case(release=release)
        draft = case.plan()
        for ctx in case.contexts(draft):
            ctx.step["idempotency_key"] = ctx.idempotency_key = f"before-{release}-{ctx.step['key']}"
            outcome = case.executor.apply(ctx)
            assert outcome.ok, outcome

    def snapshot(self) -> dict[str, Any]:
        """Every file but Interlock's own, what `current` names, the record, and which release's process runs."""
        tree = {k: v for k, v in snapshot(self.root).items() if ".interlock-service" not in k and k != "starts"}
        record = self.record()
        record.pop("token", None)  # an undo is a deployment of its own
        return {"tree": tree, "record": record, "runs": self.running()}

    def record(self) -> dict[str, Any]:
        path = self.home / ".interlock-service/record.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def running(self) -> list[str]:
        return sorted(environment_of(p)["INTERLOCK_RELEASE"] for p in self.processes(SERVICE))

    def processes(self, mark: str) -> list[psutil.Process]:
        found = [p for p in psutil.process_iter() if environment_of(p).get(mark) == str(self.home)]
        return [p for p in found if mark == SERVICE or is_supervisor(p)]

    def supervisors(self) -> list[psutil.Process]:
        return self.processes(OURS)

    def starts(self) -> list[str]:
        path = self.root / "starts"
        return path.read_text().split() if path.exists() else []

    def current(self) -> str | None:
        link = self.home / "current"
        return os.readlink(link) if link.is_symlink() else None

    def end(self) -> None:
        for mark in (OURS, SERVICE):
            for process in self.processes(mark):
                ignore_process_errors(process.kill)
        wait_for(lambda: not self.processes(OURS) + self.processes(SERVICE), 10, "every process to end")


def is_supervisor(process: psutil.Process) -> bool:
    try:
        return "supervisor.supervisord" in " ".join(process.cmdline())
    except psutil.Error:
        return False  # it has just ended


@contextmanager
def ended(web: Web) -> Iterator[Web]:
    try:
        yield web
    finally:
        web.end()

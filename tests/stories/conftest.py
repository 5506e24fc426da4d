"""The product with its demo, as processes on a database, a Redis and directories of their own. Only HTTP leads in."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.servers import scratch_directory
from tests.support.http import Browser, Program
from tests.support.processes import Group, free_port, web, worker
from tests.support.valkey import Valkey

RESTING = "queued,preflight,approved,in_progress,verifying,rolling_back"


@dataclass
class Product:
    """The running demo. `product("operator")` acts with that one's token."""

    base: str
    environment: dict[str, str]
    tokens: dict[str, str]
    var: Path

    def __call__(self, who: str) -> Program:
        return Program(self.base, self.tokens[who])

    def signed_in(self, who: str) -> Browser:
        browser = Browser(self.base)
        assert browser.sign_in(who, f"{who}-demo").status == 200
        return browser

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return manage(self.environment, *arguments)

    def file(self, name: str, environment: str = "prod") -> Path:
        return self.var / "demo" / "acme" / environment / name

    def propose(self, who: str = "operator", environment: str = "prod", **fields: Any) -> Any:
        """Submit, and wait until no worker has the next turn."""
        sent = {"type": "modify_files", "environment": environment, "reason": "a story", **fields}
        answer = self(who).post("/api/actions", sent)
        assert answer.status == 201, answer.text
        return self.settled(answer.json)

    def settled(self, action: Any, who: str = "operator", state: str = "") -> Any:
        """The action when it waits for a person or has ended, or when it is in `state`."""
        here = f"/api/actions/{action['id']}?wait_s=25" + (f"&state={state}" if state else "")
        answer = self(who).get(here)
        assert answer.status == 200, answer.text
        assert answer.json["state"] not in RESTING.split(",") or answer.json["state"] == state, answer.text
        return answer.json

    def decide(self, who: str, action: Any, digest: str = "", approved: bool = True, comment: str = "") -> Any:
        body = {"approved": approved, "digest": digest or action["plan"]["digest"], "comment": comment}
        return self(who).post(f"/api/actions/{action['id']}/approve", body)


def edit(name: str, content: str, operation: str = "modify") -> dict[str, Any]:
    return {"changes": [{"path": name, "operation": operation, "content": content}]}


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("r") as output:
        command = [sys.executable, "-m", "django", *arguments]
        code = Group(command, environment, Path(output.name)).process.wait(90)
        printed = output.read()
    return subprocess.CompletedProcess(command, code, printed, printed)


@contextmanager
def a_database(base: Path) -> Iterator[str]:
    """The URL of an empty database, on the vendor of this round."""
    server = os.environ.get("INTERLOCK_TEST_PG_URL")
    if not server or os.environ.get("INTERLOCK_TEST_DB") != "postgresql":
        yield f"sqlite:///{base / 'story.sqlite3'}"
        return
    name = f"interlock_story_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="package")
def product() -> Iterator[Product]:
    base, port = scratch_directory(), free_port()
    var = base / "var"
    (var / "static").mkdir(parents=True)
    with ExitStack() as stack:
        environment = {
            **os.environ,
            "DATABASE_URL": stack.enter_context(a_database(base)),
            "REDIS_URL": stack.enter_context(Valkey()).url,
            "INTERLOCK_VAR": str(var),
            "PORT": str(port),
        }
        for command in (["migrate", "-v", "0"], ["demo"]):
            made = manage(environment, *command)
            assert made.returncode == 0, made.stdout + made.stderr
        for queues in ("decide,sweep", "execute"):  # as `make run` does: the demo has an action that runs for long
            stack.enter_context(worker(environment, base / f"{queues[:6]}.log", queues=queues))
        address = stack.enter_context(web(environment, base / "web.log", port))
        tokens = manage(environment, "demo_tokens", "--json")
        assert tokens.returncode == 0, tokens.stderr
        yield Product(address, environment, json.loads(tokens.stdout), var)

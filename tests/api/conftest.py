"""A tenant with a matrix, and programs that talk to it over HTTP."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from actions.engine.runner import Runner
from approvals.models import MatrixRow
from tests.cast import Cast

TIERS = ("low", "medium", "high", "critical")


def write_matrix(cast: Cast) -> None:
    """Dev and globex ask for no required approval, staging for one approver, prod for two."""
    rows = []
    one, two = [{"role": "approver", "count": 1}], [{"role": "approver", "count": 2}]
    for environment, required_approvals in (
        (cast.dev, []),
        (cast.staging, one),
        (cast.prod, two),
        (cast.globex_prod, []),
    ):
        for tier in TIERS:
            rows.append(
                MatrixRow(
                    tenant=environment.tenant, environment=environment, tier=tier, required_approvals=required_approvals
                )
            )
    MatrixRow.objects.bulk_create(rows)


@dataclass
class Program:
    """A program with a token: JSON in, (status, JSON) out."""

    client: Client

    def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        sent = self.client.post(path, body or {}, content_type="application/json", headers=headers)
        return sent.status_code, sent.json()

    def get(self, path: str, **query: Any) -> tuple[int, Any]:
        got = self.client.get(path, query)
        return got.status_code, got.json()

    def propose(self, environment: str = "dev", **more: Any) -> Any:
        status, action = self.post("/api/actions", a_change(environment, **more))
        assert status == 201, action
        return action

    def look(self, action: Any) -> Any:
        status, now = self.get(f"/api/actions/{action['id']}")
        assert status == 200, now
        return now


def a_change(environment: str = "dev", path: str = "notes.txt", content: str = "hello\n", **more: Any) -> Any:
    """A submission that creates one file."""
    changes = [{"path": path, "operation": "create", "content": content}]
    parameters = {"changes": changes}
    return {"type": "modify_files", "environment": environment, "reason": "a test", "parameters": parameters, **more}


@pytest.fixture
def place(cast: Cast) -> Cast:
    write_matrix(cast)
    return cast


@pytest.fixture
def program(place: Cast) -> Callable[[str], Program]:
    """`program("operator")` acts with that one's token."""
    return lambda name: Program(place.api(name))


@pytest.fixture
def carry(transactional_db: None, place: Cast) -> Iterator[Callable[[], None]]:
    """Let workers carry everything until nobody but a person has a turn."""
    runners = [Runner("decide"), Runner("execute")]

    def drain() -> None:
        while sum(runner.drain() for runner in runners):
            pass

    yield drain
    for runner in runners:
        runner.stop()

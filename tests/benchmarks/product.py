"""Interlock as a benchmark needs it: a tenant with two environments and two people, and the workers of `make run`."""


# ruff: noqa: E402

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import django

django.setup()

from actions.intake.submission import Submission
from actions.types import registry
from approvals.policies.matrix import set_row
from config.run.processes import beat, worker
from config.settings import INTERLOCK
from tenants.access import Access, access_for
from tenants.models import Principal
from tenants.provisioning import create_environment, create_tenant
from tenants.roles import add_member
from tests.support.ledger_executor import LedgerExecutor

STEPS = 3
OPEN, GATED = "open", "gated"
BY = "system:setup"


@dataclass
class Scene:
    """Who submits and who approves. `open` asks nobody, `gated` one approver; neither has a root or writes anything."""

    operator: Access
    approver: Access


def set_up() -> Scene:
    """Make the scene in an empty, migrated database. Everything goes through the verbs that people use."""
    tenant = create_tenant("bench", "Bench")
    roles = {role.name: role for role in tenant.roles.all()}
    for slug, required_approvals in ((OPEN, []), (GATED, [{"role": "approver", "count": 1}])):
        environment = create_environment(tenant, slug, slug.capitalize(), "safe")
        for tier in ("low", "medium", "high", "critical"):
            set_row(environment, tier, required_approvals, by=BY)
    access = {}
    for name in ("operator", "approver"):
        principal = Principal.objects.create_user(name)
        add_member(principal, roles[name])
        access[name] = access_for(principal, tenant)
    return Scene(**access)


def no_op(number: int, environment: str = OPEN) -> Submission:
    """An action of three steps without effect: planned, judged, digested, checkpointed and verified like any other."""
    return Submission(
        "ledger",
        environment,
        {"steps": STEPS, "changes": False},
        reason="a benchmark",
        title=f"Nothing, number {number}",
    )


@contextmanager
def executor() -> Iterator[None]:
    with registry.register_executor(LedgerExecutor()):
        yield


@contextmanager
def workers() -> Iterator[None]:
    """The worker processes of `make run`, one per queue, and beat; killed when done."""
    INTERLOCK.var.joinpath("run").mkdir(parents=True, exist_ok=True)
    commands = {
        "decide": worker("decide", "decide,sweep"),
        "execute": worker("execute", "execute"),
        "beat": beat(),
    }
    started = [_start(name, command) for name, command in commands.items()]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            _wait_or_kill(process)


def _start(name: str, command: list[str]) -> "subprocess.Popen[bytes]":
    command = ["tests.support.worker_app" if part == "config.celery" else part for part in command]
    log = Path(os.environ["INTERLOCK_VAR"]) / f"{name}.log"
    with log.open("ab") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


def _wait_or_kill(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()

# ruff: noqa: E402
import os
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.faults.invariants")

from actions.types import registry
from tests.actions.conftest import committed_cast as committed_cast
from tests.support import machine, rabbitmq
from tests.support.ledger_executor import LedgerExecutor


@pytest.fixture
def ledger_type() -> Iterator[None]:
    """The test itself proposes actions of the ledger type; the workers are told of it by WITH_LEDGER."""
    with registry.register(LedgerExecutor()):
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, in words, what this machine or this database has no use for: a module says so in NEEDS, or for
    one test in NEEDS_OF.

    `INTERLOCK_REQUIRE_RABBITMQ` lets the tests that need RabbitMQ fail where there is none.
    """
    missing = {} if os.environ.get("INTERLOCK_TEST_DB") == "postgresql" else {"postgresql": "the database is SQLite"}
    if not rabbitmq.is_installed() and not os.environ.get("INTERLOCK_REQUIRE_RABBITMQ"):
        missing["rabbitmq"] = f"no RabbitMQ at {rabbitmq.SERVER}"
    if not machine.may_mount():
        missing["mount"] = "no file system can be mounted here"
    if not machine.may_compile():
        missing["cc"] = "no C compiler"
    for need, why in missing.items():
        left_out = [item for item in items if need in needs_of(item)]
        items[:] = [item for item in items if item not in left_out]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            if "PYTEST_XDIST_WORKER" not in os.environ:
                print(f"{len(left_out)} fault tests are left out: {why}")


def needs_of(item: pytest.Item) -> tuple[str, ...]:
    module = getattr(item, "module", None)
    return (*getattr(module, "NEEDS", ()), *getattr(module, "NEEDS_OF", {}).get(getattr(item, "originalname", ""), ()))

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.faults.invariants")

from actions.types import registry  # noqa: E402
from tests.actions.conftest import committed_cast as committed_cast  # noqa: E402
from tests.support.ledger_executor import LedgerExecutor  # noqa: E402


@pytest.fixture
def ledger_type() -> Iterator[None]:
    """The test itself proposes actions of the ledger type; the workers are told of it by WITH_LEDGER."""
    with registry.register_executor(LedgerExecutor()):
        yield

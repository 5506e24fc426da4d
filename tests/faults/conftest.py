from collections.abc import Iterator

import pytest

from actions.types import registry
from tests.actions.conftest import committed_cast as committed_cast
from tests.support.ledger_executor import LedgerExecutor


@pytest.fixture
def ledger_type() -> Iterator[None]:
    """The test itself proposes actions of the ledger type; the workers are told of it by WITH_LEDGER."""
    with registry.register(LedgerExecutor()):
        yield

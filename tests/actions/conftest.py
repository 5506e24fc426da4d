import pytest

from actions.types import registry
from tests.actions.factory import a_running_lease, root_of, with_rules
from tests.cast import make_cast
from tests.support.ledger_executor import Hooked


@pytest.fixture
def a_lease(db):
    return a_running_lease()


@pytest.fixture
def cast(db):
    """The cast with the demo's matrix: no required approval in dev and staging, two approvers in prod."""
    return make_cast(with_rules)


@pytest.fixture
def committed_cast(transactional_db):
    return make_cast(with_rules)


@pytest.fixture
def ledger_type():
    with registry.register_executor(Hooked()) as executor:
        yield executor


@pytest.fixture
def ledger(committed_cast):
    return root_of(committed_cast.dev) / ".ledger"

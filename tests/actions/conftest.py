import pytest

from actions.types import registry
from tests.actions.factory import a_running_lease, root_of, with_rules
from tests.cast import make_cast
from tests.support.ledger_executor import Hooked


@pytest.fixture
def a_lease(db):
    return a_running_lease()


@pytest.fixture
def cast(db, tmp_path):
    """The cast with the demo's matrix: no required approval in dev and staging, two approvers in prod."""
    return with_rules(make_cast(tmp_path))


@pytest.fixture
def committed_cast(transactional_db, tmp_path):
    return with_rules(make_cast(tmp_path))


@pytest.fixture
def ledger_type():
    with registry.register_executor(Hooked()) as executor:
        yield executor


@pytest.fixture
def ledger(committed_cast):
    return root_of(committed_cast.dev) / ".ledger"

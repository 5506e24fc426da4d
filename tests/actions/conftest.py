import pytest

from tests.actions.factory import a_running_lease, with_rules
from tests.cast import make_cast


@pytest.fixture
def a_lease(db):
    return a_running_lease()


@pytest.fixture
def cast(db, tmp_path):
    """The cast with the demo's matrix: no seat in dev and staging, two approvers in prod."""
    return with_rules(make_cast(tmp_path))


@pytest.fixture
def committed_cast(transactional_db, tmp_path):
    return with_rules(make_cast(tmp_path))

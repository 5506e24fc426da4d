from tests.actions.conftest import committed_cast as committed_cast

from tests.actions.conftest import cast as cast
from tests.actions.conftest import committed_cast as committed_cast

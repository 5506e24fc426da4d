from tests.actions.conftest import a_lease, cast, committed_cast, ledger, ledger_type

__all__ = ["a_lease", "cast", "committed_cast", "ledger", "ledger_type"]

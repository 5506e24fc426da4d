"""The database goes away again and again while actions run: every one ends, no move is half done.

PostgreSQL ends every connection of the product's processes; SQLite's one writer waits past the workers' leases.
"""

import time

import pytest
from django.db import connection, transaction

from tests.actions.factory import root_of
from tests.faults.invariants import (
    all_ended,
    assert_each_effect_once,
    assert_sound,
    ledger_actions,
    wait_until_completed,
)
from tests.support.ledger_executor import read_ledger
from tests.support.processes import WITH_LEDGER, wait_for, worker

pytestmark = pytest.mark.slow


def interrupt() -> int:
    """Break what is connected; return how many connections that hit."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'interlock-process'"
            )
            return int(cursor.fetchone()[0])
        cursor.execute("UPDATE actions_lease SET queue = queue")
        time.sleep(2)  # longer than the workers' leases last
        return 1


def test_actions_end_although_the_database_goes_away_again_and_again(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    log, ledger = tmp_path / "worker.log", root_of(committed_cast.dev) / ".ledger"
    actions = ledger_actions(committed_cast, 30, sleep_ms=250)
    with worker(product_environment, log, WITH_LEDGER):
        wait_for(lambda: len(read_ledger(ledger)) > 5, 30, "the first effects", log)
        assert not all_ended(actions)(), "the fault came too late to matter"
        broken = 0
        while broken < (8 if connection.vendor == "postgresql" else 1) and not all_ended(actions)():
            broken += interrupt()
            time.sleep(0.2)
        assert broken, "nothing was connected"
        wait_until_completed(actions, 40, log)
    assert_each_effect_once(actions, ledger)
    assert_sound(actions)

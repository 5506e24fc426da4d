"""A backup taken while actions run, everything lost, the backup restored: every action ends, every effect once."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now

from actions.models import Action, JournalEntry, Lease
from audit.models import Event
from tests import servers
from tests.actions.factory import a_running_lease, an_action, root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.support.elsewhere import another_database, connected_to
from tests.support.ledger_executor import read_ledger
from tests.support.processes import WITH_LEDGER, wait_for, worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]


@pytest.fixture
def programs(tmp_path) -> list[str]:
    """Where PostgreSQL's own programs are, of the version that the tests' server has."""
    return (
        [] if connection.vendor == "sqlite" else [f"--pg-bin={servers._readable_binaries(servers.scratch_directory())}"]
    )


def test_what_ran_after_the_backup_is_found_and_nothing_is_done_twice(
    committed_cast, product_environment, redis_client, ledger_type, programs, tmp_path
):
    log, ledger, copy = tmp_path / "worker.log", root_of(committed_cast.dev) / ".ledger", tmp_path / "backup"
    with worker(product_environment, log, WITH_LEDGER) as doomed:
        actions = ledger_actions(committed_cast, 6, sleep_ms=500)
        wait_for(lambda: len(read_ledger(ledger)) > 2, 40, "some effects", log)
        call_command("backup", str(copy), *programs)
        before = len(read_ledger(ledger))
        wait_for(lambda: len(read_ledger(ledger)) >= before + 4, 40, "effects after the backup", log)
        doomed.kill()
    latest = Lease.objects.latest("pk").pk
    with another_database(tmp_path) as url, connected_to(url):
        call_command("restore", str(copy), "--yes", *programs)
        receipts = JournalEntry.objects.filter(kind="receipt").count()
        assert receipts < len(read_ledger(ledger)), "the restored ledger is behind the target"
        assert not Lease.objects.filter(ended_at=None).exists()
        with worker({**product_environment, "DATABASE_URL": url}, tmp_path / "second.log", WITH_LEDGER):
            wait_until_completed(actions, 60, tmp_path / "second.log")
        assert_each_effect_once(actions, ledger)
        assert_sound(actions)
        assert Event.objects.filter(verb="installation.restored").count() == 2, "one for each tenant"
        assert Lease.objects.latest("pk").pk > latest + 900_000, "no lost worker's lease is given again"


def test_nothing_is_restored_over_the_heads_of_workers(committed_cast, programs, tmp_path):
    call_command("backup", str(tmp_path / "copy"), *programs)
    action, lease = an_action(committed_cast), a_running_lease()
    with pytest.raises(CommandError, match="Workers are running"):
        call_command("restore", str(tmp_path / "copy"), "--yes", *programs)
    with pytest.raises(CommandError, match="exists already"):
        call_command("backup", str(tmp_path / "copy"), *programs)
    Lease.objects.filter(pk=lease.pk).update(ended_at=Now())
    damaged(tmp_path / "copy")
    with pytest.raises(CommandError):
        call_command("restore", str(tmp_path / "copy"), "--yes", *programs)
    assert Action.objects.filter(pk=action.pk).exists(), "all or nothing"


def damaged(path: Path) -> None:
    """Cut a file in two."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

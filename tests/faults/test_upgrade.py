"""An upgrade with work in flight: what the release before left under way is carried on by the new one."""

import pytest
from django.core.management import call_command
from django.db import connection

from actions.models import Action, Incident
from config.services.service_urls import url_of
from tests.actions.factory import root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.incidents.conftest import hold
from tests.support.elsewhere import another_database, connected_to
from tests.support.ledger_executor import read_ledger
from tests.support.older import fill_from, migrate_to
from tests.support.processes import WITH_LEDGER, wait_for, worker

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]
BEFORE = {"actions": "0006_resource_claims", "audit": "0002_append_only"}
"""What the first release had; every migration since must carry its rows along."""


@pytest.mark.django_db(transaction=True)
def test_actions_under_way_before_an_upgrade_end_once_after_it(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    log, ledger = tmp_path / "old.log", root_of(committed_cast.dev) / ".ledger"
    held = hold(committed_cast)
    Action.objects.update(incident_seq=None)
    with worker(product_environment, log, WITH_LEDGER) as old:
        (running,) = ledger_actions(committed_cast, 1, sleep_ms=400)
        wait_for(lambda: len(read_ledger(ledger)) == 1, 40, "the first effect", log)
        assert old.terminate() == 0
    (queued,) = ledger_actions(committed_cast, 1)
    stood = {a.pk: a.state for a in Action.objects.all()}
    assert stood == {held.pk: "held", running.pk: "in_progress", queued.pk: "queued"}
    with another_database(tmp_path) as url, connected_to(url):
        migrate_to(BEFORE)
        fill_from(product_environment["DATABASE_URL"])
        assert url_of(connection.settings_dict) != product_environment["DATABASE_URL"]
        call_command("migrate", verbosity=0)
        assert {a.pk: a.state for a in Action.objects.all()} == stood
        with worker({**product_environment, "DATABASE_URL": url}, tmp_path / "new.log", WITH_LEDGER):
            wait_until_completed([running, queued], 60, tmp_path / "new.log")
            wait_for(lambda: Incident.objects.filter(action=held).exists(), 20, "the held one's ticket")
        assert_each_effect_once([running, queued], ledger)
        assert_sound([running, queued])

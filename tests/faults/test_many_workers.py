"""Several workers at the same work, and every message several times: who claims, carries, and nobody else."""

import pytest
from celery import current_app

from actions.models import Action, JournalEntry, Lease
from audit.models import Event
from tests.actions.factory import root_of
from tests.faults.invariants import assert_each_effect_once, assert_sound, ledger_actions, wait_until_completed
from tests.support.ledger_executor import read_ledger
from tests.support.processes import WITH_LEDGER, wait_for, worker

pytestmark = pytest.mark.slow

SMALL_CLAIMS = {"INTERLOCK_BATCH_SIZE": "8", "INTERLOCK_EFFECT_THREADS": "4"}


def test_two_workers_share_sixty_actions_and_each_effect_happens_once(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with (
        worker(product_environment, first, WITH_LEDGER, **SMALL_CLAIMS),
        worker(product_environment, second, WITH_LEDGER, **SMALL_CLAIMS),
    ):
        wait_for(lambda: len(current_app.control.ping(timeout=0.3)) == 2, 30, "both workers' answer", second)
        actions = ledger_actions(committed_cast, 60, sleep_ms=100)
        wait_until_completed(actions, 40, first)
    ledger = root_of(committed_cast.dev) / ".ledger"
    assert_each_effect_once(actions, ledger)
    assert_sound(actions)
    assert len({line["pid"] for line in read_ledger(ledger)}) == 2, "one of the workers stood by"


def test_a_message_delivered_twenty_times_leads_to_one_claim(
    committed_cast, product_environment, redis_client, ledger_type, tmp_path
):
    (action,) = ledger_actions(committed_cast, 1, sleep_ms=200)
    for _ in range(20):
        for queue in ("decide", "execute"):
            current_app.send_task(f"actions.tasks.{queue}", queue=queue)
    assert redis_client.llen("execute") == 20
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with (
        worker(product_environment, first, WITH_LEDGER),
        worker(product_environment, second, WITH_LEDGER),
    ):
        wait_until_completed([action], 40, first)
        wait_for(lambda: not redis_client.exists("decide", "execute"), 20, "the last delivery", first)
    assert_each_effect_once([action], root_of(committed_cast.dev) / ".ledger")
    assert_sound([action])
    lines = JournalEntry.objects.filter(action=action)
    assert lines.filter(kind="intent").count() == len(lines.filter(kind="receipt")) == 3
    assert lines.values("lease").distinct().count() == 1, "the steps of one run under one lease"
    assert Lease.objects.filter(pk=lines[0].lease).count() == 1
    for verb in ("action.preflight", "action.approve", "action.start", "action.verify", "action.complete"):
        assert Event.objects.filter(subject_id=action.pk, verb=verb).count() == 1
    assert Action.objects.get(pk=action.pk).replans == 0

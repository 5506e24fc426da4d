"""One action at a time per resource: taken all or none, in turn, let go at the end."""

import threading
from collections import Counter

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions.commands import stop_resume
from actions.controls.resource_locks import acquire, blocking_locks, lock_requests, release
from actions.engine.sweep import waiting_queues
from actions.models import Action, ResourceLock
from actions.types.protocol import Probe
from tests.actions.factory import an_action, propose, root_of
from tests.actions.running import carry, verbs_of
from tests.support.ledger_executor import balance, doubles

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]


def on(cast, *names: str):
    return lock_requests(cast.dev.pk, [{"kind": "file", "name": name} for name in names])


def take_one(action: Action, claims) -> bool:
    with transaction.atomic():
        return action.pk in acquire([(action, claims)])


def test_who_cannot_have_all_takes_none_and_waits(committed_cast):
    first, second = an_action(committed_cast, "approved"), an_action(committed_cast, "approved")
    assert take_one(first, on(committed_cast, "a"))
    assert not take_one(second, on(committed_cast, "a", "b"))
    held = ResourceLock.objects.filter(held=True).values_list("name", "action")
    assert list(held) == [("a", first.pk)]
    assert [c.name for c in blocking_locks([second.pk])[second.pk]] == ["a"]
    assert release([first.pk]) is True
    assert take_one(second, on(committed_cast, "a", "b"))
    assert release([second.pk]) is False
    assert not ResourceLock.objects.exists()


def test_one_that_wants_many_is_not_overtaken_by_those_that_want_few(committed_cast):
    first, wide, *later = [an_action(committed_cast, "approved") for _ in range(4)]
    narrow = [first, *later]
    assert take_one(narrow[0], on(committed_cast, "a"))
    assert not take_one(wide, on(committed_cast, "a", "b"))
    assert not take_one(narrow[1], on(committed_cast, "b")), "b is free, but somebody waits for it"
    release([narrow[0].pk])
    assert not take_one(narrow[2], on(committed_cast, "a"))
    assert take_one(wide, on(committed_cast, "a", "b"))
    release([wide.pk])
    assert take_one(narrow[1], on(committed_cast, "b")) and take_one(narrow[2], on(committed_cast, "a"))


def test_the_same_name_in_another_environment_is_another_resource(committed_cast):
    here, there = an_action(committed_cast, "approved"), an_action(committed_cast, "approved")
    assert take_one(here, lock_requests(committed_cast.dev.pk, [{"kind": "file", "name": "a"}]))
    assert take_one(there, lock_requests(committed_cast.prod.pk, [{"kind": "file", "name": "a"}]))


def test_what_is_shared_is_nobodys(committed_cast):
    assert lock_requests(committed_cast.dev.pk, [{"kind": "file", "name": "a", "shared": True}]) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.sampled_from("abc"), min_size=1)), max_size=25))
def test_any_order_of_taking_and_letting_go_keeps_one_holder_and_all_or_nothing(committed_cast, calls):
    ResourceLock.objects.all().delete()
    actions = [an_action(committed_cast, "approved") for _ in range(5)]
    wants: dict[int, list] = {}
    for n, names in calls:
        mine = ResourceLock.objects.filter(action=actions[n])
        if n in wants and mine.filter(held=True).exists():
            release([actions[n].pk])
            del wants[n]
        else:
            wants.setdefault(n, on(committed_cast, *sorted(names)))
            assert take_one(actions[n], wants[n]) == (mine.filter(held=True).count() == len(wants[n]))
        holders = Counter(ResourceLock.objects.filter(held=True).values_list("key", flat=True))
        assert set(holders.values()) <= {1}
        for k, claims in wants.items():
            held = ResourceLock.objects.filter(action=actions[k], held=True).count()
            assert held in (0, len(claims))
    for _ in range(len(actions)):  # everybody gets their turn once the holders end
        for k in list(wants):
            if take_one(actions[k], wants[k]):
                release([actions[k].pk])
                del wants[k]
    assert wants == {}


def test_of_many_that_take_the_same_at_once_one_has_it(committed_cast):
    actions = [an_action(committed_cast, "approved") for _ in range(8)]
    claims = on(committed_cast, "a", "b", "c")
    ready, granted = threading.Barrier(len(actions)), []

    def race(action: Action) -> None:
        try:
            ready.wait()
            if take_one(action, claims):
                granted.append(action.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=race, args=(a,)) for a in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) <= 1
    holders = set(ResourceLock.objects.filter(held=True).values_list("action", flat=True))
    assert holders == set(granted)
    if not granted:  # everybody was in everybody's way once; whoever asks next is served
        assert any(take_one(a, claims) for a in actions)


def test_an_action_waits_for_the_one_that_has_its_resource_and_goes_on_after_it(committed_cast, ledger_type):
    shared = {"steps": 2, "exclusive": True}
    ledger_type.probe = lambda ctx: Probe.UNKNOWN
    doubtful = carry(propose(committed_cast, type="ledger", parameters={**shared, "fail_at": 2}, accept=True))
    del ledger_type.probe
    assert doubtful.held_reason == "in_doubt"
    behind = carry(propose(committed_cast, type="ledger", parameters=shared, accept=True))
    assert (behind.state, behind.lease_id) == ("approved", None)
    assert verbs_of(behind)[-1] == "action.waiting"
    assert "execute" not in waiting_queues(), "nobody is woken for what cannot go on"
    said = committed_cast.client("operator").get(f"/api/actions/{behind.pk}").json()["blocked_by"]
    assert said == [f"Waiting for the lock on cell cell-{n}: {doubtful.pk} is first." for n in (1, 2)]
    page = committed_cast.client("operator").get(f"/actions/{behind.pk}/").content.decode()
    assert "Waiting for the lock on cell <code>cell-1</code>" in page
    seen = verbs_of(behind)
    assert carry(behind).state == "approved" and verbs_of(behind) == seen, "it waits without being picked up"
    stop_resume.resume(committed_cast.access("operator"), doubtful.pk, "not there", how="give_up", step_done=False)
    assert "execute" in waiting_queues()
    assert carry(behind).state == "completed"
    assert not ResourceLock.objects.exists()


def test_an_action_withdrawn_while_it_waits_leaves_the_queue(committed_cast, ledger_type):
    holder = an_action(committed_cast, "held")
    assert take_one(holder, lock_requests(committed_cast.dev.pk, [{"kind": "cell", "name": "cell-1"}]))
    behind = carry(propose(committed_cast, type="ledger", parameters={"steps": 1, "exclusive": True}, accept=True))
    assert behind.state == "approved" and ResourceLock.objects.filter(action=behind, held=False).exists()
    stop_resume.cancel(committed_cast.access("operator"), behind.pk, "no longer needed")
    assert not ResourceLock.objects.filter(action=behind).exists()


def test_ten_actions_on_one_resource_run_one_after_the_other(committed_cast, ledger_type):
    ledger = root_of(committed_cast.dev) / ".ledger"
    actions = [
        propose(committed_cast, type="ledger", parameters={"steps": 2, "exclusive": True, "sleep_ms": 10}, accept=True)
        for _ in range(10)
    ]
    carry(actions[0])
    assert set(Action.objects.filter(pk__in=[a.pk for a in actions]).values_list("state", flat=True)) == {"completed"}
    assert doubles(ledger) == [] and balance(ledger) == {"cell-1": 10, "cell-2": 10}
    runs = sorted(Action.objects.filter(pk__in=[a.pk for a in actions]).values_list("started_at", "completed_at"))
    assert all(end <= begin for (_, end), (begin, _) in zip(runs, runs[1:], strict=False))
    assert not ResourceLock.objects.exists()

"""Concurrency limits: never more at once than they say, whoever starts them; waiting actions say so."""

import threading

import pytest
from django.db import connection

from actions.commands import stop_resume
from actions.engine.dequeue import dequeue
from actions.engine.sweep import waiting_queues
from actions.errors import WrongState
from actions.lifecycle.commit import commit
from actions.lifecycle.transitions import Transition
from actions.models import Action, ConcurrencyLimit
from tests.actions.factory import a_running_lease, an_action
from tests.actions.running import verbs_of

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]


def cap(cast, most: int, environment=None, type: str = "") -> ConcurrencyLimit:
    return ConcurrencyLimit.objects.create(tenant=cast.acme, environment=environment, type=type, most=most)


def start(*actions: Action, capped: bool | None = None) -> list[Action]:
    lease = a_running_lease()
    Action.objects.filter(pk__in=[a.pk for a in actions]).update(lease=lease)
    now = Action.objects.filter(pk__in=[a.pk for a in actions]).order_by("pk")
    writes = [Transition(a, "start", lease=lease.pk, capped=capped) for a in now]
    return [w.action for w in commit(writes) if w.verb == "start"]


def waiting_ones(cast, count: int, **fields) -> list[Action]:
    return [an_action(cast, "approved", **fields) for _ in range(count)]


def test_no_more_start_than_a_cap_lets_and_the_others_say_what_they_wait_for(cast):
    cap(cast, 2, cast.dev)
    actions = waiting_ones(cast, 5)
    assert [a.pk for a in start(*actions)] == [a.pk for a in actions[:2]]
    behind = Action.objects.get(pk=actions[2].pk)
    assert (behind.state, behind.lease_id, verbs_of(behind)[-1]) == ("approved", None, "action.waiting")
    said = cast.client("operator").get(f"/api/actions/{behind.pk}").json()["blocked_by"]
    assert said == ["Waiting for a concurrency limit: 2 of 2 actions run in dev."]
    page = cast.client("operator").get(f"/actions/{behind.pk}/").content.decode()
    assert "2 of 2 actions run in dev" in page
    assert waiting_queues() == [] and dequeue("execute", a_running_lease().pk, 10).ids == []


@pytest.mark.parametrize(
    ("where", "kind", "other"),
    [
        ("dev", "", {"environment": "staging"}),
        (None, "modify_files", {"type": "config_change"}),
        ("dev", "modify_files", {"type": "config_change"}),
        ("dev", "modify_files", {"environment": "staging"}),
    ],
)
def test_a_cap_counts_its_own_environment_and_type_alone(cast, where, kind, other):
    cap(cast, 1, getattr(cast, where) if where else None, kind)
    if "environment" in other:
        other = {"environment": getattr(cast, other["environment"])}
    mine, theirs = waiting_ones(cast, 2), waiting_ones(cast, 2, **other)
    assert len(start(*mine, *theirs)) == 3
    assert Action.objects.filter(pk__in=[a.pk for a in theirs], state="in_progress").count() == 2


def test_every_cap_that_covers_an_action_holds(cast):
    cap(cast, 3)
    cap(cast, 2, cast.dev)
    here, there = waiting_ones(cast, 3), waiting_ones(cast, 3, environment=cast.staging)
    started = start(*here, *there)
    assert sorted(a.environment.slug for a in started) == ["dev", "dev", "staging"]


def test_a_claim_takes_no_more_than_may_start_and_what_another_cap_keeps_waiting_keeps_nobody_else(cast):
    cap(cast, 4)
    cap(cast, 1, cast.dev)
    here, there = waiting_ones(cast, 10), waiting_ones(cast, 10, environment=cast.staging)
    taken = set(dequeue("execute", a_running_lease().pk, 50).ids)
    assert len(taken & {a.pk for a in here}) == 1 and len(taken & {a.pk for a in there}) == 3
    assert dequeue("execute", a_running_lease().pk, 50).ids == [], "what is claimed to start counts"


def test_a_cap_set_after_the_worker_looked_is_seen_by_the_write_itself(cast):
    actions = waiting_ones(cast, 2)
    cap(cast, 1, cast.dev)
    assert start(*actions, capped=False) == []
    assert len(start(*actions, capped=True)) == 1


def test_a_lowered_cap_lets_nothing_start_until_fewer_run(cast):
    limit = cap(cast, 3)
    actions = waiting_ones(cast, 5)
    running = start(*actions[:3])
    ConcurrencyLimit.objects.filter(pk=limit.pk).update(most=2)
    commit([Transition(Action.objects.get(pk=running[0].pk), "hold", sets={"held_reason": "operator"}, release=True)])
    assert start(actions[3]) == []
    commit([Transition(Action.objects.get(pk=running[1].pk), "hold", sets={"held_reason": "operator"}, release=True)])
    assert [a.pk for a in start(actions[3])] == [actions[3].pk]


def test_a_person_resumes_nothing_beyond_a_cap(cast):
    cap(cast, 1, cast.dev)
    held = an_action(cast, "held", started_at="2026-01-01T00:00Z")
    (running,) = start(*waiting_ones(cast, 1))
    with pytest.raises(WrongState) as refused:
        stop_resume.resume(cast.access("operator"), held.pk, "go on")
    assert "1 of 1 actions run in dev" in refused.value.detail
    commit([Transition(Action.objects.get(pk=running.pk), "hold", sets={"held_reason": "operator"}, release=True)])
    assert stop_resume.resume(cast.access("operator"), held.pk, "go on").state == "in_progress"


@pytest.mark.django_db(transaction=True)
def test_many_workers_that_start_at_once_never_exceed_a_cap(committed_cast):
    cast = committed_cast
    cap(cast, 3)
    cap(cast, 2, cast.dev)
    groups = [[*waiting_ones(cast, 2), *waiting_ones(cast, 1, environment=cast.staging)] for _ in range(6)]
    ready, errors = threading.Barrier(len(groups)), []

    def race(actions: list[Action]) -> None:
        try:
            ready.wait()
            start(*actions)
        except Exception as error:  # told to the test
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=race, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    running = Action.objects.filter(state="in_progress")
    assert running.count() == 3 and running.filter(environment=cast.dev).count() <= 2

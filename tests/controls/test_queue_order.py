"""Whose turn it is: every tenant its share, the longest wait first, priority worth a while and no more."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from actions.controls.nodes import PRIORITY_POINT
from actions.engine.dequeue import dequeue
from actions.engine.sweep import waiting_queues
from actions.models import Action
from tests.actions.factory import a_running_lease, an_action, edit, propose
from tests.actions.running import carry

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]


def crowd(cast, count: int, **fields) -> list[Action]:
    """Many actions, made at once and without events."""
    one = an_action(cast, **fields)
    rows = [Action(**{f.attname: getattr(one, f.attname) for f in Action._meta.concrete_fields}) for _ in range(count)]
    for row in rows:
        row.pk = Action._meta.pk.get_default()
    one.delete()
    return Action.objects.bulk_create(rows, batch_size=500)


def of_globex(cast, **fields) -> Action:
    return an_action(cast, tenant=cast.globex, environment=cast.globex_prod, requester=cast.outsider, **fields)


@pytest.mark.parametrize(("queue", "state"), [("decide", "queued"), ("execute", "approved")])
def test_a_tenant_with_hundreds_waiting_does_not_keep_another_from_its_turn(cast, queue, state):
    crowd(cast, 300, state=state)
    alone = of_globex(cast, state=state)
    taken = dequeue(queue, a_running_lease(queue).pk, 10)
    assert alone.pk in taken.ids and len(taken.ids) == 10 and taken.more


def test_tenants_that_all_have_much_to_do_get_the_same(cast):
    ours, theirs = crowd(cast, 40, state="approved"), [of_globex(cast, state="approved") for _ in range(40)]
    taken = set(dequeue("execute", a_running_lease().pk, 20).ids)
    assert len(taken & {a.pk for a in ours}) == len(taken & {a.pk for a in theirs}) == 10


def test_what_one_tenant_leaves_of_its_share_goes_to_the_others(cast):
    crowd(cast, 60, state="approved")
    of_globex(cast, state="approved")
    assert len(dequeue("execute", a_running_lease().pk, 50).ids) == 50


def test_priority_comes_first_and_waiting_comes_before_priority_in_the_end(cast):
    usual = propose(cast, parameters=edit(operation="create"))
    urgent = propose(cast, parameters=edit(operation="create"), priority=10)
    late = propose(cast, parameters=edit(operation="create"), priority=-100)
    assert (
        usual.turn_at - usual.created_at == timedelta(0) and urgent.created_at - urgent.turn_at == 10 * PRIORITY_POINT
    )
    lease = a_running_lease("decide")
    taken = [dequeue("decide", lease.pk, 1).ids[0] for _ in range(3)]
    assert taken == [urgent.pk, usual.pk, late.pk]
    old = an_action(cast, turn_at=Now() - 11 * PRIORITY_POINT)
    urgent = propose(cast, parameters=edit(operation="create"), priority=10)
    assert [dequeue("decide", lease.pk, 1).ids[0] for _ in range(2)] == [old.pk, urgent.pk]


def test_nothing_starts_before_its_time_and_nobody_is_woken_for_it(cast):
    later = an_action(cast, "approved", not_before=Now() + timedelta(hours=1))
    assert dequeue("execute", a_running_lease().pk, 10).ids == [] and waiting_queues() == []
    Action.objects.filter(pk=later.pk).update(not_before=Now() - timedelta(seconds=1))
    assert waiting_queues() == ["execute"]
    assert dequeue("execute", a_running_lease().pk, 10).ids == [later.pk]


@pytest.mark.django_db(transaction=True)
def test_an_action_proposed_for_later_runs_once_its_time_has_come(committed_cast):
    soon = propose(
        committed_cast, parameters={"changes": [{"path": "x", "operation": "create", "content": "1"}]}, accept=True
    )
    Action.objects.filter(pk=soon.pk).update(not_before=Now() + timedelta(hours=1))
    assert carry(soon).state == "approved"
    Action.objects.filter(pk=soon.pk).update(not_before=Now())
    assert carry(soon).state == "completed"

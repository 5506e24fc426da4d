"""A worker killed at every boundary of a step: after a restart the action finishes, and each effect happened once."""

import pytest

from actions.models import Action, JournalEntry, Lease
from audit.models import Event
from audit.verification.chain import verify_subject_chain
from tests.actions.factory import propose, root_of
from tests.support.processes import wait_for, worker
from tests.support.watcher import Watcher

pytestmark = pytest.mark.dialect

BOUNDARIES = ("before_intent", "after_intent", "after_effect", "after_receipt")
FILES = ("app.conf", "db.conf", "web.conf")


@pytest.mark.parametrize(
    ("step", "boundary"),
    [
        pytest.param(step, boundary, marks=() if (step, boundary) == (2, "after_effect") else pytest.mark.slow)
        for step in (1, 2, 3)
        for boundary in BOUNDARIES
    ],
)
def test_a_killed_worker_costs_nothing_but_time(committed_cast, product_environment, tmp_path, boundary, step):
    cast, log = committed_cast, tmp_path / "worker.log"
    root = root_of(cast.dev)
    for name in FILES:
        (root / name).write_text("before\n")
    action = propose(
        cast,
        parameters={"changes": [{"path": n, "operation": "modify", "content": f"after {n}\n"} for n in FILES]},
        accept=True,
    )
    with Watcher(root) as seen:
        with worker(product_environment, log, INTERLOCK_CRASH_AT=f"{boundary}:{step}") as doomed:
            doomed.wait_until_dead()
        assert Action.objects.get(pk=action.pk).state in ("approved", "in_progress", "verifying")
        assert Lease.objects.filter(ended_at=None).exists(), "a killed worker ends no lease"
        with worker(product_environment, log):
            wait_for(lambda: Action.objects.get(pk=action.pk).state == "completed", 60, "completion", log)
    assert {n: (root / n).read_text() for n in FILES} == {n: f"after {n}\n" for n in FILES}
    assert {n: seen.renamed[n] for n in FILES} == dict.fromkeys(FILES, 1)
    receipts = JournalEntry.objects.filter(action=action, kind="receipt")
    assert sorted(receipts.values_list("step", flat=True)) == sorted(s["key"] for s in action_plan(action))
    moves = Event.objects.filter(subject_id=action.pk, verb__startswith="action.").order_by("seq")
    assert [e.verb for e in moves][-3:] == ["action.start", "action.verify", "action.complete"]
    assert Event.objects.filter(subject_id=action.pk, verb="lease.lost").count() == 1
    assert verify_subject_chain(action.tenant_id, "action", action.pk).ok


def action_plan(action: Action) -> list[dict]:
    plan = Action.objects.select_related("plan").get(pk=action.pk).plan
    assert plan is not None
    return plan.steps

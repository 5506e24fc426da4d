"""Nodes: their own worker carries what is theirs, nobody else does, and what waits for it says so."""

import json
import os
import subprocess
import sys

import pytest
from django.db.models.functions import Now

from actions.controls import nodes, worker_queues
from actions.controls.nodes import register_node
from actions.controls.worker_queues import WorkerScope, is_woken
from actions.engine.dequeue import dequeue
from actions.engine.sweep import waiting_queues
from actions.lifecycle.commit import Changed
from actions.models import Action, Lease, Node
from actions.signals import on_committed
from audit.models import Event
from tests.actions.factory import a_running_lease, an_action, edit, propose, root_of
from tests.support.processes import ALL_QUEUES, QUICK, REPO, Group, wait_for, worker

pytestmark = pytest.mark.django_db
NEW = edit(operation="create")


def a_live_worker(node: str = "", serves: tuple[str, ...] = ()) -> Lease:
    lease = a_running_lease()
    Lease.objects.filter(pk=lease.pk).update(node=node, serves=list(serves))
    return lease


def test_only_a_nodes_own_worker_takes_what_is_its(cast):
    register_node("web-1")
    theirs = propose(cast, parameters=NEW, target={"node": "web-1"})
    anybodys = propose(cast, parameters=NEW)
    lease = a_running_lease("decide").pk
    assert theirs.node == "web-1"
    assert dequeue("decide", lease, 10, WorkerScope("web-2")).ids == []
    assert dequeue("decide", lease, 10).ids == [anybodys.pk]
    assert dequeue("decide", lease, 10, WorkerScope("web-1")).ids == [theirs.pk]


def test_a_name_that_no_worker_ever_had_is_a_label_until_one_comes(cast):
    action = propose(cast, parameters=NEW, target={"node": "web-1"})
    assert action.node == ""
    register_node("web-1")
    assert Action.objects.get(pk=action.pk).node == "web-1"
    assert dequeue("decide", a_running_lease("decide").pk, 10).ids == []


def test_a_worker_that_is_limited_to_environments_takes_theirs_alone(cast):
    here, there = an_action(cast, "approved"), an_action(cast, "approved", environment=cast.staging)
    lease = a_running_lease().pk
    assert dequeue("execute", lease, 10, WorkerScope(serves=("acme/prod", "globex/dev"))).ids == []
    assert dequeue("execute", lease, 10, WorkerScope(serves=("acme/prod", "acme/staging"))).ids == [there.pk]
    assert dequeue("execute", lease, 10).ids == [here.pk]


def test_what_waits_for_a_node_says_since_when_nobody_is_there(cast):
    register_node("web-1")
    action = propose(cast, parameters=NEW, target={"node": "web-1"})
    said = cast.client("operator").get(f"/api/actions/{action.pk}").json()["blocked_by"]
    assert said == ["No live worker for node web-1 (never seen). Start one there."]
    lease = a_live_worker("web-1")
    assert cast.client("operator").get(f"/api/actions/{action.pk}").json()["blocked_by"] == ["Waiting for a worker."]
    Lease.objects.filter(pk=lease.pk).update(ended_at=Now())
    page = cast.client("operator").get(f"/actions/{action.pk}/").content.decode()
    assert "no worker for node web-1" in page and "last seen" in page


def test_the_nudge_goes_to_the_nodes_own_queue(cast, redis_client, monkeypatch):
    sent = []
    monkeypatch.setattr(worker_queues, "_send_task", sent.append)
    for node in ("", "web-1"):
        on_committed(None, changes=[Changed(cast.dev.pk, cast.acme.pk, cast.dev.pk, "approved", 1, False, node)])
    assert sent == ["execute", "execute.node.web-1"] and is_woken("execute.node.web-1")


def test_the_sweep_wakes_live_nodes_and_tells_of_workers_for_some_environments(cast, redis_client, monkeypatch):
    register_node("web-1")
    an_action(cast, "approved", node="web-1")
    assert waiting_queues() == [], "nobody could hear it"
    a_live_worker("web-1")
    a_live_worker(serves=("acme/staging",))
    an_action(cast, "approved", environment=cast.staging)
    scope = WorkerScope(serves=("acme/staging",))
    assert set(waiting_queues()) == {"execute", "execute.node.web-1", scope.route("execute")}
    monkeypatch.setitem(nodes._known_routes, "at", float("-inf"))
    assert nodes.limited_routes("execute", {cast.staging.pk}) == [scope.route("execute")]
    assert nodes.limited_routes("execute", {cast.dev.pk}) == []


def test_an_agent_without_anything_to_be_for_says_what_to_set():
    told = {k: v for k, v in os.environ.items() if k not in ("INTERLOCK_NODE", "INTERLOCK_ENVIRONMENTS")}
    ended = subprocess.run(
        [sys.executable, "-m", "config.run.node_worker"], cwd=REPO, env=told, capture_output=True, text=True
    )
    assert ended.returncode == 2 and "INTERLOCK_NODE" in ended.stderr
    wrong = {**told, "INTERLOCK_ENVIRONMENTS": "prod"}
    ended = subprocess.run(
        [sys.executable, "-m", "config.run.node_worker"], cwd=REPO, env=wrong, capture_output=True, text=True
    )
    assert ended.returncode == 2 and "INTERLOCK_ENVIRONMENTS" in ended.stderr and "acme/prod" in ended.stderr


@pytest.mark.django_db(transaction=True)
def test_two_workers_of_real_processes_each_carry_their_own(
    committed_cast, product_environment, redis_client, tmp_path
):
    """One for whatever comes, one for the node: by the leases under which the actions began."""
    agent_environment = {**product_environment, **QUICK, "INTERLOCK_NODE": "web-1"}
    log = tmp_path / "agent.log"
    with worker(product_environment, tmp_path / "general.log", queues=ALL_QUEUES):
        agent = Group([sys.executable, "-m", "config.run.node_worker"], agent_environment, log)
        try:
            wait_for(lambda: Lease.objects.filter(node="web-1").count() >= 2, 60, "the agent", log)
            assert Node.objects.filter(pk="web-1").exists()
            named = {"node": "web-1"}
            theirs = [
                propose(committed_cast, parameters=edit(f"t{n}", operation="create"), accept=True, target=named)
                for n in range(3)
            ]
            usual = [
                propose(committed_cast, parameters=edit(f"u{n}", operation="create"), accept=True) for n in range(3)
            ]
            ids = [a.pk for a in (*theirs, *usual)]
            done = Action.objects.filter(pk__in=ids, state="completed")
            wait_for(lambda: done.count() == 6, 60, "their end", log)
        finally:
            agent.kill()
    by_node = dict(Lease.objects.values_list("pk", "node"))
    for action, node in [*((a, "web-1") for a in theirs), *((a, "") for a in usual)]:
        assert {by_node[lease] for lease in action.journal_entries.values_list("lease", flat=True)} == {node}
    assert (root_of(committed_cast.dev) / "t0").exists()
    later = propose(committed_cast, parameters=edit("late", operation="create"), accept=True, target={"node": "web-1"})
    assert later.node == "web-1" and waiting_queues() in ([], ["decide.node.web-1"])
    assert json.loads(bytes(Event.objects.filter(subject_id=later.pk).get().body))["verb"] == "action.submitted"

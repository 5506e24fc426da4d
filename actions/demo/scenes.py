"""The scenes of the demo: an action in every state, one that runs, and incidents."""

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from django.conf import settings

from actions.commands import incidents as incident_commands
from actions.commands import review, stop_resume
from actions.demo.world import World
from actions.engine.runner import Runner
from actions.engine.sweep import expire_overdue
from actions.incidents.worker import run_slice
from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.lifecycle import allowed
from actions.models import Action, Incident
from tenants.access import Access, access_for

COMMENT = "Search was being redeployed. I ask again when that is through."


def open_incidents(access: Callable[[str], Access], say: Callable[[str], None]) -> None:
    """Open the incidents; then the operator acknowledges what failed. Harmless to repeat."""
    run_slice(slice_s=60)
    operator = access("operator")
    for ticket in incident_commands.visible_incidents(operator).filter(
        state="open", ending="failed", assignee=operator.principal
    ):
        incident_commands.acknowledge(operator, ticket.pk, "Looking at it.")
        incident_commands.comment(operator, ticket.pk, COMMENT)
        say(f"{'acknowledged':>17}  {ticket.summary}")
    for ticket in Incident.objects.filter(state="open").order_by("pk"):
        say(f"{'incident':>17}  {ticket.summary}")


# One action for each state that an action can rest in, and one that runs.


class Stage:
    """Proposes, decides and carries, as whoever the scene says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.scene = ""
        self.runners = [Runner("decide"), Runner("execute")]

    def access(self, who: str) -> Any:
        tenant = self.world.globex if who == "outsider" else self.world.acme
        return access_for(self.world.people[who], tenant)

    def propose(self, who: str = "operator", **fields: Any) -> Action:
        fields = {"type": "modify_files", **fields}
        action, _ = submit(self.access(who), Submission(**fields), correlation_id=self.scene)
        return self.carry(action)

    def carry(self, action: Action) -> Action:
        while sum(r.drain() for r in self.runners):
            pass
        return allowed.find_action(self.access_of(action), action.pk)

    def access_of(self, action: Action) -> Any:
        return self.access("operator" if action.tenant_id == self.world.acme.pk else "outsider")

    def approve(self, action: Action, *who: str, comment: str = "") -> Action:
        assert action.plan is not None
        for name in who:
            review.approve(self.access(name), action.pk, True, action.plan.digest, comment)
        return self.carry(action)

    def close(self) -> None:
        for runner in self.runners:
            runner.stop("the demo is loaded")


def edit(root: Path, path: str, old: str, new: str) -> dict[str, Any]:
    """Parameters that change one text in one file."""
    text = (root / path).read_text()
    assert old in text, f"{path} has no {old!r}"
    return {"changes": [{"path": path, "operation": "modify", "content": text.replace(old, new)}]}


def play(world: World, say: Callable[[str], None]) -> None:
    """Play every scene that was not played yet, in an order in which the newest are those that wait for somebody."""
    stage = Stage(world)
    try:
        for scene in (
            completed,
            undone_later,
            simulated,
            rejected,
            denied,
            cancelled,
            expired,
            failed,
            rolled_back,
            held,
            another_tenant,
            approved,
            waits_in_staging,
            waits_for_acceptance,
            waits_for_security,
            waits_for_two,
            waits_for_one_more,
            by_an_agent,
            running,
        ):
            stage.scene = f"demo-{scene.__name__}"
            if Action.objects.filter(correlation_id=stage.scene).exists():
                continue
            action = scene(stage)
            say(f"{action.state:>17}  {action.title}")
        open_incidents(stage.access, say)
    finally:
        stage.close()


def completed(stage: Stage) -> Action:
    parameters = edit(stage.world.root("dev"), "services/checkout.yaml", "LOG_LEVEL: info", "LOG_LEVEL: debug")
    checks = [{"kind": "file", "path": "services/checkout.yaml", "contains": "LOG_LEVEL: debug"}]
    return stage.propose(
        environment="dev",
        parameters=parameters,
        checks=checks,
        accept=True,
        title="Log checkout at debug level",
        reason="Chasing the lost carts of Monday; back to info on Friday.",
        ticket="OPS-8812",
    )


def undone_later(stage: Stage) -> Action:
    parameters = edit(stage.world.root("prod"), "flags.json", '"checkout_v3": false', '"checkout_v3": true')
    action = stage.propose(
        environment="prod",
        parameters=parameters,
        title="Turn on checkout_v3",
        reason="Ten per cent of carts saw it for a week without a regression.",
        ticket="OPS-8790",
    )
    return stage.approve(action, "approver", "approver2", comment="Looked at the canary numbers.")


def simulated(stage: Stage) -> Action:
    parameters = edit(stage.world.root("prod"), "db/orders-db.conf", "max_connections = 200", "max_connections = 400")
    return stage.propose(
        environment="prod",
        parameters=parameters,
        mode="simulate",
        title="What 400 connections to orders-db would do",
        reason="Before asking two people for it.",
        ticket="OPS-8801",
    )


def rejected(stage: Stage) -> Action:
    parameters = edit(stage.world.root("prod"), "db/orders-db.conf", "max_connections = 200", "max_connections = 2000")
    action = stage.propose(
        environment="prod",
        parameters=parameters,
        title="Raise orders-db to 2000 connections",
        reason="The pool runs dry at peak.",
        ticket="OPS-8801",
    )
    comment = "2000 connections need 20 GB of memory that this host does not have. Use the pooler."
    review.approve(stage.access("approver"), action.pk, False, None, comment)
    return stage.carry(action)


def denied(stage: Stage) -> Action:
    change = {"path": "legacy/ingress.conf", "operation": "delete"}
    return stage.propose(
        environment="staging",
        parameters={"changes": [change]},
        security_level="critical",
        title="Delete the legacy ingress",
        reason="Nothing has used it since June.",
        ticket="OPS-8847",
    )


def cancelled(stage: Stage) -> Action:
    parameters = edit(stage.world.root("prod"), "services/orders.yaml", "DB_POOL: 20", "DB_POOL: 40")
    action = stage.propose(
        environment="prod",
        parameters=parameters,
        title="Double the order service's pool",
        reason="Try whether the pool is the bottleneck.",
    )
    stop_resume.cancel(stage.access("operator"), action.pk, "Found the slow query instead.")
    return stage.carry(action)


def expired(stage: Stage) -> Action:
    kept, settings.INTERLOCK.approval_ttl_s = settings.INTERLOCK.approval_ttl_s, 1
    try:
        parameters = edit(stage.world.root("prod"), "services/checkout.yaml", "CART_TTL_MIN: 30", "CART_TTL_MIN: 45")
        action = stage.propose(
            environment="prod",
            parameters=parameters,
            title="Keep carts for 45 minutes",
            reason="Asked for by support.",
        )
    finally:
        settings.INTERLOCK.approval_ttl_s = kept
    time.sleep(1.2)
    expire_overdue()
    return stage.carry(action)


def failed(stage: Stage) -> Action:
    return stage.propose(
        type="rerun_healthcheck",
        environment="dev",
        parameters={"host": "127.0.0.1", "port": 9},
        title="Is the search service well?",
        reason="Search is slow in dev.",
    )


def rolled_back(stage: Stage) -> Action:
    parameters = edit(stage.world.root("dev"), "services/orders.yaml", "replicas: 1", "replicas: 3")
    checks = [{"kind": "tcp", "host": "127.0.0.1", "port": 9}]
    return stage.propose(
        environment="dev",
        parameters=parameters,
        checks=checks,
        accept=True,
        title="Run three order services",
        reason="Load test on Thursday.",
        ticket="OPS-8838",
    )


def held(stage: Stage) -> Action:
    """A check fails, and somebody edits the file before it can be restored: a person has to look."""
    path = stage.world.root("dev") / "edge" / "firewall.rules"

    class Meddler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path.write_text(path.read_text() + "# edited by hand at 03:12\n")
            self.send_response(503)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Meddler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        parameters = edit(stage.world.root("dev"), "edge/firewall.rules", "vault:8200", "vault:8201")
        checks = [{"kind": "http", "url": f"http://127.0.0.1:{server.server_port}/healthz"}]
        return stage.propose(
            environment="dev",
            parameters=parameters,
            checks=checks,
            accept=True,
            title="Move vault to port 8201",
            reason="The new vault listens there.",
            ticket="OPS-8852",
        )
    finally:
        server.shutdown()
        server.server_close()


def another_tenant(stage: Stage) -> Action:
    change = {"path": "notes.txt", "operation": "create", "content": "globex keeps to itself\n"}
    return stage.propose(
        "outsider",
        environment="prod",
        parameters={"changes": [change]},
        title="Leave a note",
        reason="A test.",
    )


def approved(stage: Stage) -> Action:
    parameters = edit(stage.world.root("prod"), "services/orders.yaml", "2026.11.0", "2026.11.1")
    action = stage.propose(
        environment="prod",
        parameters=parameters,
        title="Deploy orders 2026.11.1",
        ticket="OPS-8858",
        reason="Fixes the rounding of partial refunds.",
        not_before=datetime.now(UTC) + timedelta(hours=20),
    )
    return stage.approve(action, "approver", "approver2", comment="Fine for tonight's window.")


def waits_in_staging(stage: Stage) -> Action:
    return stage.propose(
        type="rerun_deployment_stage",
        environment="staging",
        parameters={"deployment": "shop", "stage": "migrate"},
        title="Rerun the migration of shop",
        reason="The lock that it waited for is gone.",
        ticket="OPS-8863",
    )


def waits_for_acceptance(stage: Stage) -> Action:
    parameters = edit(stage.world.root("dev"), "flags.json", '"new_search": true', '"new_search": false')
    return stage.propose(
        environment="dev",
        parameters=parameters,
        title="Turn off the new search",
        reason="It hides test products.",
    )


def waits_for_security(stage: Stage) -> Action:
    parameters = edit(stage.world.root("prod"), "edge/firewall.rules", "10.30.0.0/16", "10.0.0.0/8")
    return stage.propose(
        environment="prod",
        parameters=parameters,
        security_level="critical",
        ticket="SEC-1190",
        title="Open vault to the whole private network",
        reason="The new build agents sit in 10.60.0.0/16.",
    )


def waits_for_two(stage: Stage) -> Action:
    root = stage.world.root("prod")
    parameters = edit(root, "services/checkout.yaml", "PAYMENT_TIMEOUT_S: 8", "PAYMENT_TIMEOUT_S: 12")
    parameters["changes"] += edit(root, "services/orders.yaml", "DB_POOL: 20", "DB_POOL: 30")["changes"]
    parameters["changes"] += [
        {"path": "legacy/ingress.conf", "operation": "delete"},
        {"path": "services/refunds.yaml", "operation": "create", "content": "service: refunds\nreplicas: 2\n"},
    ]
    return stage.propose(
        environment="prod",
        parameters=parameters,
        title="Roll out refunds and give payments more time",
        reason="The provider's p99 went from 6 to 9 seconds.\nRefunds goes live on Thursday.",
        ticket="OPS-8841",
    )


def waits_for_one_more(stage: Stage) -> Action:
    parameters = edit(stage.world.root("prod"), "db/orders-db.conf", "work_mem = 16MB", "work_mem = 32MB")
    action = stage.propose(
        environment="prod",
        parameters=parameters,
        title="Give orders-db more sort memory",
        reason="The nightly report spills to disk.",
        ticket="OPS-8849",
    )
    return stage.approve(action, "approver", comment="Memory headroom is there.")


def by_an_agent(stage: Stage) -> Action:
    parameters = edit(stage.world.root("prod"), "services/checkout.yaml", "2026.11.2", "2026.11.3")
    return stage.propose(
        "agent",
        environment="prod",
        parameters=parameters,
        title="Deploy checkout 2026.11.3",
        confidence=0.93,
        reason="All checks of the release train are green.",
        ticket="OPS-8860",
    )


def running(stage: Stage) -> Action:
    """Left queued: the workers find it when they start, and it runs for a while."""
    parameters = {"host": "127.0.0.1", "port": int(os.environ.get("PORT", "8000")), "repeat": 20, "interval_s": 45}
    submission = Submission(
        type="rerun_healthcheck",
        environment="dev",
        parameters=parameters,
        timeout_s=3600,
        title="Watch the front door for a quarter of an hour",
        reason="Proof that it stays open during the deployment.",
    )
    return submit(stage.access("operator"), submission, correlation_id=stage.scene)[0]

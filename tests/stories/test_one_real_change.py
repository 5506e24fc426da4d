"""One real change goes all the way, through nothing but HTTP, and a stranger can verify what happened."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from audit.management.commands.export_verifier import build_verifier
from tests.stories.conftest import Product, edit
from tests.support.event_stream import Told
from tests.support.processes import REPO

pytestmark = pytest.mark.dialect

FLIPS = 60


class Follower(threading.Thread):
    """Reads an action's stream from the first event to its end, and drops the connection once on the way."""

    def __init__(self, product: Product, action: Any) -> None:
        super().__init__(daemon=True)
        self.program, self.path = product("auditor"), f"/api/actions/{action['id']}/events"
        self.told: list[Told] = []
        self.reconnects = 0

    def run(self) -> None:
        for told in self._pieces():
            self.told.append(told)
            if json.loads(told.data)["verb"] == "action.complete":
                return

    def _pieces(self) -> Iterator[Told]:
        for told in self.program.stream(self.path):
            yield told
            if json.loads(told.data)["verb"] == "approval.granted":
                break
        while True:
            self.reconnects += 1
            yield from self.program.stream(self.path, last_id=self.told[-1].id)


def test_a_change_on_prod_from_proposal_to_evidence(product: Product, tmp_path: Path) -> None:
    operator, file = product("operator"), product.file("services/checkout.yaml")
    before = file.read_text()
    after = before.replace("PAYMENT_TIMEOUT_S: 8", "PAYMENT_TIMEOUT_S: 9")
    mode = file.stat().st_mode
    assert before != after

    action = product.propose(parameters=edit("services/checkout.yaml", after), title="Give payments a second more")
    assert (action["state"], action["requires_approval"]) == ("awaiting_approval", True)
    assert action["approvals"]["required_approvals"] == [{"role": "approver", "count": 2, "filled": 0}]
    follower = Follower(product, action)
    follower.start()

    here, digest = f"/api/actions/{action['id']}", action["plan"]["digest"]
    plan, text, summary = (operator.get(f"{here}/plan{suffix}") for suffix in (".json", ".md", ".yaml"))
    assert plan.json["digest"] == digest and plan.json["executor"] == {"name": "modify_files", "version": "1"}
    assert [step["target"] for step in plan.json["steps"]] == ["services/checkout.yaml"]
    assert "-  PAYMENT_TIMEOUT_S: 8\n+  PAYMENT_TIMEOUT_S: 9\n" in text.text and digest in text.text
    assert yaml.safe_load(summary.body)["plan"]["digest"] == digest
    assert {answer.headers["X-Plan-Digest"] for answer in (plan, text, summary)} == {digest}

    for who, why in (("operator", "not_eligible"), ("agent", "not_eligible"), ("security", "not_eligible")):
        refused = product.decide(who, action)
        assert (refused.status, refused.json["code"]) == (403, why) and refused.json["detail"], who
    stale = product.decide("approver", action, "0" * 64)
    assert (stale.status, stale.json["code"]) == (409, "stale_digest")
    assert file.read_text() == before

    first = product.decide("approver", action, comment="p99 is at 8.4 s")
    assert (first.status, first.json["state"], first.json["approvals"]["have"]) == (200, "awaiting_approval", 1)
    assert product.decide("approver", action).status == 409, "one person fills one required approval"
    assert file.read_text() == before
    second = product.decide("approver2", action)
    assert (second.status, second.json["approvals"]["have"]) == (200, 2)

    done = product.settled(action)
    assert (done["state"], done["result"]["success"]) == ("completed", True)
    assert (file.read_text(), file.stat().st_mode) == (after, mode)
    assert (done["progress"]["done"], done["progress"]["total"]) == (1, 1) and done["rollback_reference"]

    follower.join(30)
    assert not follower.is_alive() and follower.reconnects == 1
    events = operator.get(f"{here}/events?limit=500").json["items"]
    assert (
        [int(told.id) for told in follower.told]
        == [event["seq"] for event in events]
        == list(range(1, done["seq"] + 1))
    )
    assert [json.loads(told.data) for told in follower.told] == events
    verbs = [event["verb"] for event in events]
    assert verbs.count("approval.refused") >= 3 and verbs.count("approval.granted") == 2
    assert verbs[-4:] == ["action.start", "step.done", "action.verify", "action.complete"]

    evidence = product("auditor").get(f"{here}/evidence")
    assert (evidence.status, evidence.headers["Content-Type"]) == (200, "application/zip")
    assert_verifiable_by_a_stranger(evidence.body, tmp_path)
    checked = product.manage("verify_audit")
    assert (checked.returncode, checked.stdout.split(":")[0]) == (0, "verified"), checked.stdout + checked.stderr


def assert_verifiable_by_a_stranger(pack: bytes, directory: Path) -> None:
    """An interpreter and one file are all it takes; after one flipped byte, wherever it is, the answer is no."""
    alone, file = directory / "verify.pyz", directory / "pack.zip"
    alone.write_bytes(build_verifier())

    def status(*arguments: str | Path) -> int:
        command = [sys.executable, *arguments, file]
        return subprocess.run(command, cwd=REPO, env={}, capture_output=True, timeout=30).returncode

    file.write_bytes(pack)
    assert status("-E", "-s", "-m", "audit.verify") == 0
    assert status("-I", alone) == 0
    dice = random.Random(len(pack))
    places = {0, len(pack) - 1, *(dice.randrange(len(pack)) for _ in range(FLIPS))}
    for place in sorted(places):
        file.write_bytes(pack[:place] + bytes([pack[place] ^ 1 << dice.randrange(8)]) + pack[place + 1 :])
        assert status("-I", alone) == 1, f"a flipped bit in byte {place} of {len(pack)} goes unnoticed"


@pytest.mark.parametrize("who", ["approver", "auditor", "security"])
def test_who_may_only_look_cannot_propose(product: Product, who: str) -> None:
    sent = {"type": "modify_files", "environment": "prod", "reason": "no", "parameters": edit("x", "y", "create")}
    refused = product(who).post("/api/actions", sent)
    assert (refused.status, refused.json["code"]) == (403, "not_allowed") and refused.json["remedies"]
    assert not product.file("x").exists()

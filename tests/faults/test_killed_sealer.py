"""SIGKILL at every step of the sealer: the log verifies as it was left, and goes on as if nothing had happened."""

import ast
import inspect
import os
import signal

import pytest
from django.db import connections

from audit.database.clock import uuid7
from audit.log.events import record
from audit.models import Event
from audit.models.seals import Horizon, Leaf, SignedTreeHead, Tile
from audit.seals import keys, sealer, tree
from audit.verification import log_verifier
from audit.verification.log import verify_tenant_log
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = pytest.mark.django_db(transaction=True)
OTHER = uuid7()
INSIDE = sealer.STEPS[sealer.STEPS.index("locked") : sealer.STEPS.index("committed")]


def killed_at(step: str) -> int:
    """Seal in a process that dies when it gets there; return how it ended."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        sealer.failpoint = lambda here: os.kill(os.getpid(), signal.SIGKILL) if here == step else None
        try:
            sealer.seal_all()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    for module in (tree, log_verifier):
        monkeypatch.setattr(module, "TILE", 4)
    monkeypatch.setattr(tree, "LEVELS", 2)
    monkeypatch.setattr(log_verifier, "BATCH", 8)


@pytest.mark.parametrize("step", sealer.STEPS)
def test_a_log_whose_sealer_was_killed_verifies_and_goes_on(step):
    subject, other = a_subject(), a_subject()
    for _ in range(3):
        record(an_entry(subject))
    sealer.seal_all()
    for _ in range(4):  # more than a tile
        record(an_entry(subject))
    record(an_entry(other, tenant=OTHER))
    before = Leaf.objects.count(), SignedTreeHead.objects.count()
    assert killed_at(step) == -signal.SIGKILL, f"nobody came by {step}"
    after = Leaf.objects.count(), SignedTreeHead.objects.count()
    assert (after == before) == (step == "looked" or step in INSIDE), "all of a pass, or nothing of it"
    assert verify_tenant_log(TENANT).ok and verify_tenant_log(OTHER).ok, "it verifies as it was left"
    record(an_entry(subject))
    for _ in range(3):
        sealer.seal_all()
    assert Leaf.objects.count() == Event.objects.count() and Tile.objects.count() == 2
    assert Horizon.objects.get().horizon == Event.objects.order_by("id").last().pk
    for tenant in (TENANT, OTHER):
        verdict = verify_tenant_log(tenant)
        assert verdict.ok and verdict.size == Event.objects.filter(tenant=tenant).count(), verdict.broken
    assert len(keys.public_keys(TENANT)) == 1, "no key is left over"


def test_every_step_that_is_passed_is_killed_at():
    """The steps are those that the code names: a new one without a kill fails here."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(sealer))) if isinstance(node, ast.Call)]
    passed = [node.args[0].value for node in calls if isinstance(node.func, ast.Name) and node.func.id == "failpoint"]
    assert sorted(passed) == sorted(sealer.STEPS)

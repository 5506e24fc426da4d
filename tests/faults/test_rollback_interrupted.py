"""`make soak`: random graphs, a random step that fails, and workers killed at random boundaries on the way and back."""

import os
import random
import time

import pytest

from actions.commands import stop_resume
from actions.engine.sweep import end_expired_leases
from actions.models import Action, Quarantine
from actions.models.states import ENDED
from actions.types import registry
from tests.actions.factory import root_of
from tests.faults.invariants import assert_sound
from tests.run.test_before_images import SEEN, check, furnish, proposed
from tests.support.files_executor import MENDED, FilesExecutor, cells
from tests.support.nursery import Nursery, nursery
from tests.support.processes import wait_for

pytestmark = pytest.mark.soak
CASES = int(os.environ.get("INTERLOCK_SOAK_CASES", "200"))
BOUNDARIES = (
    "claimed",
    "before_intent",
    "after_intent",
    "after_effect",
    "after_receipt",
    "before_undo_intent",
    "after_undo_intent",
    "after_undo_effect",
    "after_undo_receipt",
)
KILLED = -9
MOST_WORKERS = 12


@pytest.mark.timeout(0)
def test_the_state_before_is_back_whoever_is_killed(committed_cast, product_environment, redis_client):
    chance, began, kills = random.Random(), time.monotonic(), 0
    root, actions = root_of(committed_cast.dev), []
    with registry.register_executor(FilesExecutor()), nursery(product_environment) as workers:
        for _ in range(CASES):
            case = drawn(chance)
            furnish(root, len(case["after"]))
            before = cells(root)
            action = proposed(committed_cast, case)
            kills += carried(workers, action, chance)
            action.refresh_from_db()
            if action.held_reason == "rollback_failed":
                (root / MENDED).touch()
                stop_resume.resume(committed_cast.access("operator"), action.pk, "mended", how="continue")
                kills += carried(workers, action, chance)
            check(Action.objects.select_related("plan").get(pk=action.pk), root, before, case)
            Quarantine.objects.all().delete()
            actions.append(action)
    print(f"\n{CASES} cases, {kills} kills, {time.monotonic() - began:.0f} s: {dict(SEEN)}")
    assert kills > CASES / 4
    assert_sound(actions)


def drawn(chance: random.Random) -> dict:
    count = chance.randint(1, 6)
    after = [sorted(chance.sample(range(1, n + 1), chance.randint(0, min(n, 2)))) for n in range(count)]
    final = sorted(chance.sample(range(1, count + 1), chance.randint(0, min(count, 2))))
    stuck = sorted(set(chance.sample(range(1, count + 1), chance.randint(0, min(count, 2)))) - set(final))
    return {
        "after": after,
        "final": final,
        "stuck": stuck,
        "fails": chance.randint(0, count),
        "rollback": {
            "order": chance.choice(["reverse", "forward"]),
            "mode": chance.choice(["all-or-nothing", "best-effort"]),
        },
    }


def carried(workers: Nursery, action: Action, chance: random.Random) -> int:
    """Let one worker after the other carry it, most of them to be killed somewhere; return how many were."""
    kills = 0
    for n in range(MOST_WORKERS):
        crash_at = f"{chance.choice(BOUNDARIES)}:{chance.randint(1, 2)}" if n < 4 and chance.random() < 0.8 else ""
        if workers.work(crash_at) == KILLED:
            kills += 1
            wait_for(lambda: end_expired_leases() >= 1 or not leased(action), 10, "the end of the dead worker's lease")
        elif resting(action):
            return kills
    raise AssertionError(f"{action} does not come to rest")


def leased(action: Action) -> bool:
    return Action.objects.filter(pk=action.pk, lease__isnull=False).exists()


def resting(action: Action) -> bool:
    return Action.objects.filter(pk=action.pk, state__in=(*ENDED, "held")).exists()

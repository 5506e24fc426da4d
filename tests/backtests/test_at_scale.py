"""A backtest by real workers, of which one is killed on the way: it finishes, shows how far it is, and stays small."""

import time

import psutil
import pytest

from actions.backtests import start
from actions.backtests.draft_rules import load_draft
from actions.models import Action, Backtest, BacktestDifference
from tests.actions.factory import with_rules
from tests.backtests.factory import judged_actions
from tests.backtests.test_backtests import brute_force, listed
from tests.policies.factory import drafted, published
from tests.support.processes import wait_for, worker

pytestmark = pytest.mark.slow

MOST_GROWTH = 150 * 2**20
"""Of the worker and the process that evaluates, over what they have once they began. In bytes."""
AT_ONCE = 10_000
FEW = 5_000


def tree_bytes(pid: int) -> int:
    """What a process and its children hold, shared pages counted once each."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(0)
@pytest.mark.parametrize("n", [2_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_it_finishes_shows_progress_survives_a_kill_and_stays_small(
    cast, product_environment, redis_client, tmp_path, n
):
    with_rules(cast)
    for number in range(3):
        published(cast.acme, f"old-{number}", expression=f"plan.creates > {number + 5}", effect="warn")
    for first in range(0, n, AT_ONCE):
        judged_actions(cast, min(AT_ONCE, n - first), seed=first, alike=1 if n <= FEW else 50)
    version = drafted(cast.acme, expression="plan.deletes > 0 && environment.name == 'prod'")
    began = time.monotonic()
    made = start.start_backtest(cast.access("admin"), "policy", version.pk)
    with worker(product_environment, tmp_path / "first.log", queues="background,sweep") as first_worker:
        wait_for(lambda: Backtest.objects.get(pk=made.pk).done > n // 10, 120, "a tenth of it", tmp_path / "first.log")
        first_worker.kill()
    killed_at = Backtest.objects.get(pk=made.pk).done
    assert 0 < killed_at < n
    seen, sizes = [killed_at], []
    with worker(product_environment, tmp_path / "second.log", queues="background,sweep") as second_worker:
        while (now := Backtest.objects.get(pk=made.pk)).is_under_way:
            if now.done > seen[-1]:
                seen.append(now.done)
                sizes.append(tree_bytes(second_worker.process.pid))
            assert time.monotonic() - began < 120 + n / 100, f"it is stuck at {now.done}"
            time.sleep(0.02)
    took = time.monotonic() - began
    assert (now.state, now.done, now.total) == ("finished", n, n)
    assert len(seen) > 2 and seen == sorted(set(seen)), "no progress was shown"
    assert max(sizes) - sizes[0] < MOST_GROWTH
    peak, grown = max(sizes) / 2**20, (max(sizes) - sizes[0]) / 2**20
    print(
        f"\n{n:,} actions in {took:.1f} s, killed once at {killed_at:,}; peak {peak:.0f} MiB, grown by {grown:.0f} MiB"
    )
    if n <= FEW:
        expected = brute_force(load_draft(cast.access("admin"), "policy", version.pk), Action.objects.all())
        assert listed(now) == expected
    else:
        kept = BacktestDifference.objects.filter(backtest=now, because="draft").count()
        assert kept == min(now.otherwise, start.MAX_DIFFERENCES)

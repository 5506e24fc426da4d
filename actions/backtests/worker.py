"""
Run backtests, a slice of time at a time, on their own queue.

The worker that claims one reads the actions after its cursor in small batches, evaluates them outside any transaction,
and moves cursor, counts and differences in one guarded write. A killed worker loses one batch, which the next one
repeats; after a cancellation or a lost claim nothing is written. Memory is bounded by the batch.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from actions.backtests.draft_rules import RuleSet
from actions.backtests.evaluate import EvaluatedPlan, comparable, difference_kind, evaluate_plans
from actions.backtests.start import MAX_DIFFERENCES, record_finished
from actions.models import Action
from actions.models.backtest import UNDER_WAY, Backtest, BacktestDifference
from audit.database.clock import database_time

ACTOR = "system:background"
SLICE_S = 3.0
LEASES = 4
"""The duration of a claim in lease times: a batch takes longer than a heartbeat."""
FIRST_BATCH, MAX_BATCH = 10, 400
MAX_RESOURCES, READ_AT_ONCE = 20_000, 50
"""Bytes of facts in a batch."""
QUICK_S, SLOW_S = 0.4, 1.5
CUT_OFFS = 20
"""How often one expression may time out in a backtest before it counts as an error."""
CLOCKS_APART = timedelta(days=1)
COLUMNS = ("id", "environment_id", "state", "plan__facts", "plan__verdict", "plan__created_at")
Row = tuple[UUID, UUID, str, dict[str, Any], dict[str, Any], datetime]


@dataclass
class Basis:
    """The rule sets of a backtest, read once per slice."""

    today: RuleSet
    then: RuleSet
    rule: str

    @classmethod
    def of(cls, backtest: Backtest) -> "Basis":
        kept = backtest.basis
        return cls(RuleSet.of(kept["today"]), RuleSet.of(kept["then"]), kept["rule"])


def run_slice(slice_s: float = SLICE_S, still: Callable[[], Any] = lambda: None) -> bool:
    """Work on the longest waiting backtest for a slice; return whether any waits. `still` is called in between."""
    backtest = claim_backtest()
    if backtest is None:
        return False
    until, size, basis = time.monotonic() + slice_s, FIRST_BATCH, Basis.of(backtest)
    if backtest.total is None and not _save(backtest, total=evaluated_actions(backtest).count()):
        return has_waiting()
    while time.monotonic() < until:
        began = time.monotonic()
        if not evaluate_batch(backtest, basis, size):
            return has_waiting()
        took = time.monotonic() - began
        size = min(MAX_BATCH, size * 2) if took < QUICK_S else max(1, size // 2) if took > SLOW_S else size
        still()
    _save(backtest, claim=None, claimed_until=None)
    return has_waiting()


def claim_lifetime() -> timedelta:
    """How long a claim on a backtest lasts after its worker's last write."""
    return timedelta(seconds=LEASES * settings.INTERLOCK.lease_s)


def has_waiting() -> bool:
    """Whether a backtest is under way that no worker has claimed."""
    return _free().exists()


def claim_backtest() -> Backtest | None:
    """Claim the longest waiting backtest; None if none waits."""
    for pk in _free().order_by("touched_at").values_list("pk", flat=True)[:5]:
        mine = uuid4()
        taken = (
            _free()
            .filter(pk=pk)
            .update(claim=mine, claimed_until=Now() + claim_lifetime(), touched_at=Now(), state="running")
        )
        if taken:
            return Backtest.objects.get(pk=pk)
    return None


def evaluated_actions(backtest: Backtest) -> QuerySet[Action]:
    """The actions of a backtest: planned and not simulated, created in its period, in environments that it affects."""
    found = Action.objects.filter(
        tenant=backtest.tenant_id,
        plan__isnull=False,
        created_at__gte=backtest.since,
        created_at__lt=backtest.until,
        pk__gte=_floor(backtest.since),
        simulated=False,
    )
    return found.filter(environment=backtest.environment_id) if backtest.environment_id else found


def evaluate_batch(backtest: Backtest, basis: Basis, size: int) -> bool:
    """Evaluate up to `size` actions; False once none is left, or the claim is lost."""
    ahead = evaluated_actions(backtest).order_by("pk")
    ahead = ahead.filter(pk__gt=backtest.cursor) if backtest.cursor else ahead
    rows = _rows(ahead, size)
    if not rows:
        _finish(backtest)
        return False
    patience = _patience(backtest, basis)
    known = [row for row in rows if row[3]]
    evaluated = evaluate_plans([(row[3], row[5]) for row in known], basis.today, basis.then, patience)
    counts = Counter({"unjudged": len(rows) - len(known)})
    found = [_difference(backtest, row, each) for row, each in zip(known, evaluated, strict=True)]
    different = [difference for difference in found if difference is not None]
    if basis.rule:
        counts.update(_rule_outcome(basis.rule, each) for each in evaluated)
    return _store(backtest, rows[-1][0], len(rows), counts, different, patience)


def _rows(ahead: QuerySet[Action], size: int) -> list[Row]:
    """The next actions; fewer than `size` if their facts are large."""
    rows: list[Row] = []
    room = MAX_RESOURCES
    for row in ahead.values_list(*COLUMNS)[:size].iterator(chunk_size=READ_AT_ONCE):
        rows.append(row)
        room -= len(row[3].get("resources", ())) if isinstance(row[3], dict) else 0
        if room <= 0:
            break
    return rows


def _rule_outcome(rule: str, evaluated: EvaluatedPlan) -> str:
    result = evaluated.policy_results[rule]
    return "errs" if result.error else "applies" if result.value is True else "does_not_apply"


def _difference(backtest: Backtest, row: Row, evaluated: EvaluatedPlan) -> BacktestDifference | None:
    """The difference of an action's verdict: because of the draft, or of rules that changed since."""
    went, today, then = comparable(row[4]), comparable(evaluated.today), comparable(evaluated.then)
    because, kind = "draft", difference_kind(today, then)
    if not kind:
        because, kind = "since", difference_kind(went, then)
    if not kind:
        return None
    return BacktestDifference(
        backtest=backtest,
        action_id=row[0],
        environment_id=row[1],
        state=row[2],
        because=because,
        kind=kind,
        went=went,
        today=today,
        then=then,
    )


def _store(
    backtest: Backtest,
    cursor: UUID,
    n: int,
    came: Counter[str],
    different: list[BacktestDifference],
    patience: dict[str, int],
) -> bool:
    """Save progress in one transaction, guarded by the claim; False, with nothing written, if the claim is lost."""
    counts: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in backtest.counts.items()}
    for name, more in came.items():
        counts[name] = counts.get(name, 0) + more
    kept = []
    for difference in different:
        kinds = counts.setdefault(difference.because, {})
        if sum(kinds.values()) < MAX_DIFFERENCES:
            kept.append(difference)
        kinds[difference.kind] = kinds.get(difference.kind, 0) + 1
    with transaction.atomic():
        until = Now() + claim_lifetime()
        moved = _save(
            backtest, cursor=cursor, done=backtest.done + n, counts=counts, patience=patience, claimed_until=until
        )
        if moved:
            BacktestDifference.objects.bulk_create(kept)
    return moved


def _finish(backtest: Backtest) -> None:
    with transaction.atomic():
        at = database_time()
        if _save(backtest, state="finished", finished_at=at, total=backtest.done, claim=None, claimed_until=None):
            earlier = BacktestDifference.objects.filter(backtest__kind=backtest.kind, backtest__draft=backtest.draft)
            earlier.exclude(backtest=backtest).delete()
            record_finished(backtest, ACTOR)


def _save(backtest: Backtest, **values: Any) -> bool:
    """Update a backtest while the claim holds, in the database and in memory."""
    mine = Backtest.objects.filter(pk=backtest.pk, claim=backtest.claim, cursor=backtest.cursor, state="running")
    if not mine.update(**{**values, "touched_at": Now()}):
        return False
    for name, value in values.items():
        if name not in ("claim", "claimed_until"):
            setattr(backtest, name, value)
    return True


def _free() -> QuerySet[Backtest]:
    return Backtest.objects.filter(Q(claimed_until=None) | Q(claimed_until__lt=Now()), state__in=UNDER_WAY)


def _patience(backtest: Backtest, basis: Basis) -> dict[str, int]:
    every = {r.expression for r in [*basis.today.policies, *basis.then.policies]}
    return {source: int(backtest.patience.get(source, CUT_OFFS)) for source in every}


def _floor(at: datetime) -> UUID:
    """The least id of an action created then; ids begin with the milliseconds of another clock."""
    ms = max(0, int((at - CLOCKS_APART).timestamp() * 1_000))
    return UUID(int=ms << 80)

"""
Whatever the graph, whichever step fails, wherever a worker dies: the target ends in the state before, or exactly what
cannot be undone, and what is in quarantine, differs and is named.

The soak draws thousands of cases; `tests/faults/test_rollback_interrupted.py` does the same to processes that are
killed.
"""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions.commands import stop_resume
from actions.engine import failpoints, runner
from actions.engine.runner import Runner
from actions.engine.sweep import end_expired_leases
from actions.models import Action, Lease, Quarantine
from actions.types import registry
from tests.actions.factory import propose, root_of
from tests.actions.running import carry, verbs_of
from tests.run.test_rollback import facts_of
from tests.support.files_executor import MENDED, SENT, FilesExecutor, cells, sent

pytestmark = pytest.mark.django_db(transaction=True)
FEW, MANY = 10, int(os.environ.get("INTERLOCK_SOAK_CASES", "1500"))
MOST_TURNS = 60
ENDS = ("completed", "rolled_back", "failed")
SEEN: Counter[str] = Counter()


class Died(Exception):
    """The worker is no more, as far as its script and its transaction are concerned."""


@st.composite
def cases(draw):
    """A graph of up to six steps; which cannot be undone, whose undo fails, which fails; and where workers die."""
    count = draw(st.integers(1, 6))
    after = [sorted(draw(st.sets(st.integers(1, n), max_size=2))) if n else [] for n in range(count)]
    some = st.sets(st.integers(1, count), max_size=2).map(sorted)
    final = draw(some)
    return {
        "after": after,
        "final": final,
        "stuck": [n for n in draw(some) if n not in final],
        "fails": draw(st.integers(0, count)),
        "rollback": {
            "order": draw(st.sampled_from(["reverse", "forward"])),
            "mode": draw(st.sampled_from(["all-or-nothing", "best-effort"])),
        },
        "dies": draw(st.sets(st.integers(1, 14), max_size=3)),
    }


@settings(max_examples=FEW, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_the_state_before_is_back_or_what_differs_is_named(committed_cast, monkeypatch, case):
    ends_as_it_must(committed_cast, monkeypatch, case)


@pytest.mark.soak
@pytest.mark.timeout(0)
@settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_the_state_before_is_back_in_a_great_many_cases(committed_cast, monkeypatch, case):
    ends_as_it_must(committed_cast, monkeypatch, case)


@pytest.fixture(scope="module", autouse=True)
def said(request):
    """What the cases came to, for whoever runs the soak (`-s`)."""
    yield
    print(f"\n{sum(SEEN[e] for e in ENDS)} cases: {dict(SEEN)}")


def ends_as_it_must(cast, monkeypatch, case) -> None:
    root = root_of(cast.dev)
    furnish(root, len(case["after"]))
    before = cells(root)
    with registry.register_executor(FilesExecutor()):
        action = proposed(cast, case)
        action = through_deaths(monkeypatch, action, case["dies"])
        if action.held_reason == "rollback_failed":
            assert len(named_in_quarantine(action)) == 1, "all or nothing stops at the first undo that fails"
            assert named_in_quarantine(action) <= {f"cell-{n}" for n in case["stuck"]}
            (root / MENDED).touch()
            stop_resume.resume(cast.access("operator"), action.pk, "mended", how="continue")
            action = carry(action)
    check(action, root, before, case)
    Quarantine.objects.all().delete()


def furnish(root, count: int) -> None:
    for path in [*root.glob("cell-*"), root / SENT, root / MENDED]:
        path.unlink(missing_ok=True)
    for n in range(1, count + 1, 2):
        (root / f"cell-{n}").write_bytes(f"before {n}\n".encode())


def proposed(cast, case) -> Action:
    parameters = {name: case[name] for name in ("after", "final", "stuck", "fails")}
    return propose(cast, type="files", parameters=parameters, rollback=case["rollback"], accept=True)


def through_deaths(monkeypatch, action: Action, dies: set[int]) -> Action:
    """Carry it, while workers die at these boundaries of commits, one after the other."""
    left, passed = set(dies), [0]

    def reached(moment: str, group=()) -> None:
        if not {w.action.state for w in group} & {"approved", "in_progress", "verifying", "rolling_back"}:
            return
        for _ in failpoints.failpoint_names(moment, group):
            passed[0] += 1
            if passed[0] in left:
                left.discard(passed[0])
                SEEN["deaths"] += 1
                raise Died

    for _ in range(MOST_TURNS):
        with monkeypatch.context() as patch:
            patch.setattr(runner, "failpoint", reached)
            if is_carried():
                break
        Lease.objects.filter(ended_at=None).update(ended_at="2020-01-01T00:00:00Z")
        end_expired_leases()
    return Action.objects.select_related("plan").get(pk=action.pk)


def is_carried() -> bool:
    """Drain both queues with new workers; False if one of them died."""
    runners = [Runner("decide"), Runner("execute")]
    try:
        while sum(r.drain() for r in runners):
            pass
    except Died:
        return False
    finally:
        for r in runners:
            r.stop()
    return True


def named_in_quarantine(action: Action) -> set[str]:
    return set(Quarantine.objects.filter(action=action).values_list("name", flat=True))


def check(action: Action, root, before, case) -> None:
    """The one law: what differs from before is what the action names, and no line was sent twice."""
    now = cells(root)
    SEEN[action.state] += 1
    differs = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    assert set(sent(root).values()) <= {1}
    count = len(case["after"])
    if action.state == "completed":
        assert case["fails"] == 0
        assert differs == {f"cell-{n}" for n in range(1, count + 1) if n not in case["final"]}
        assert len(sent(root)) == len(case["final"])
        return
    assert case["fails"] and action.state in ("rolled_back", "failed"), (action.state, action.held_reason, action.error)
    named = facts_of(action, "action.fail").get("remains", []) if action.state == "failed" else []
    finals = {int(key) for key in named} & set(case["final"])
    SEEN["irreversible"] += bool(finals)
    SEEN["quarantined"] += bool(named_in_quarantine(action))
    assert len(sent(root)) == len(finals)
    assert differs == {f"cell-{int(key)}" for key in named} - {f"cell-{n}" for n in finals}
    if differs:
        assert case["rollback"]["mode"] == "best-effort"
        assert differs <= named_in_quarantine(action)
        assert differs <= {f"cell-{n}" for n in case["stuck"]}
    if action.state == "failed" and "action.roll_back" in verbs_of(action):
        assert named, "a way back that left nothing ends rolled back"

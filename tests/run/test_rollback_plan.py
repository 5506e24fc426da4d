"""The way back as it is planned: order, mode, and from where on there is none."""

import pytest

from actions.commands import propose
from actions.errors import BadSubmission
from actions.preflight.step_graph import build_rollback_plan, points_of_no_return
from actions.preflight.summary import as_markdown
from actions.types import registry
from tests.actions.factory import edit, root_of
from tests.actions.factory import propose as factory_propose
from tests.actions.running import carry
from tests.support.ledger_executor import LedgerExecutor


def step(key, *after, kind="reversible"):
    return {"key": key, "after": list(after), "compensation": {"kind": kind, "title": f"undo {key}"}}


def test_what_can_be_undone_is_undone_in_reverse_unless_asked_otherwise():
    steps = [step("a"), step("b", "a", kind="lossy"), step("c", "b", kind="none"), step("d", kind="irreversible")]
    usual = build_rollback_plan(steps, {}, {})
    assert (usual["order"], usual["mode"]) == ("reverse", "all-or-nothing")
    assert [s["step"] for s in usual["steps"]] == ["b", "a"]
    typed = build_rollback_plan(steps, {"order": "forward", "mode": "best-effort"}, {"mode": "all-or-nothing"})
    assert (typed["order"], typed["mode"]) == ("forward", "all-or-nothing")
    assert [s["step"] for s in typed["steps"]] == ["a", "b"]


def test_the_point_of_no_return_is_the_first_of_each_branch():
    steps = [
        step("a"),
        step("b", "a", kind="irreversible"),
        step("c", kind="irreversible"),
        step("d", "b"),
        step("e", "d", kind="irreversible"),
    ]
    assert points_of_no_return(steps) == ["b", "c"]


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("rollback", {"order": "sideways"}, "rollback.order"),
        ("rollback", {"mode": "maybe"}, "rollback.mode"),
        ("rollback", {"speed": 1}, "rollback.speed"),
        ("watch", {"every_s": 0}, "watch.every_s"),
        ("watch", {"error_rate": 1.5}, "watch.error_rate"),
        ("watch", {"then": "pray"}, "watch.then"),
        ("watch", {"often": True}, "watch.often"),
    ],
)
def test_a_way_back_that_is_none_is_refused_with_its_field(cast, field, value, where):
    with pytest.raises(BadSubmission) as refused:
        factory_propose(cast, parameters=edit(operation="create"), **{field: value})
    assert [i["field"] for i in refused.value.extra["issues"]] == [where]


@pytest.mark.django_db(transaction=True)
def test_the_plan_says_how_it_would_go_back_and_its_digest_holds_it(committed_cast):
    (root_of(committed_cast.dev) / "app.conf").write_text("before\n")
    one = carry(factory_propose(committed_cast, parameters=edit()))
    other = carry(
        factory_propose(committed_cast, parameters=edit(), rollback={"order": "forward", "mode": "best-effort"})
    )
    assert one.plan.rollback["order"] == "reverse"
    assert (other.plan.rollback["order"], other.plan.rollback["mode"]) == ("forward", "best-effort")
    assert one.plan.digest != other.plan.digest
    assert "- Order: reverse, 1 of 1 steps can be undone" in as_markdown(one, one.plan, [])
    again = propose.resubmission_of(other, "once more")
    assert again.rollback == other.rollback


@pytest.mark.django_db(transaction=True)
def test_a_type_may_say_how_it_goes_back(committed_cast):
    class Careless(LedgerExecutor):
        rollback = {"mode": "best-effort"}

    with registry.register_executor(Careless()):
        action = carry(factory_propose(committed_cast, type="ledger", parameters={"steps": 2}))
    assert action.plan.rollback["mode"] == "best-effort"

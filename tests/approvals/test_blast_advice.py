"""What would lower the tier: every promise is kept when the change is made, and only lower tiers are promised."""

import copy
import re

import pytest
from hypothesis import given

from approvals.blast.advice import advise
from approvals.blast.score import LEVELS
from approvals.verdict import evaluate_matrix
from tests.approvals.factory import diagnostics, facts_of
from tests.approvals.test_blast_dependents import FACTS, HOURS

FILE = {"kind": "file", "risk_class": "guarded", "monthly_cost": None, "known": True}


def advice(facts: dict) -> dict[str, tuple[int, str]]:
    return {a["what"]: (a["score"], a["tier"]) for a in advise(facts, evaluate_matrix(facts).tier)}


def one(facts: dict, pattern: str) -> tuple[str, int, str]:
    found = [(what, *then) for what, then in advice(facts).items() if re.search(pattern, what)]
    assert len(found) == 1, advice(facts)
    return found[0]


def comes_to(facts: dict) -> tuple[int, str]:
    verdict = evaluate_matrix(facts)
    return verdict.blast.score, verdict.tier


def test_deleting_less_leads_to_the_tier_it_promises():
    facts = facts_of("staging", modifies=6, deletes=12)
    assert evaluate_matrix(facts).tier == "high"
    what, points, tier = one(facts, "^Delete")
    assert what == "Delete at most 1 instead of 12, and leave the rest to an action of its own."
    assert (points, tier) == comes_to(facts_of("staging", modifies=6, deletes=1)) and tier == "medium"
    what, points, tier = one(one_left := facts_of("prod", modifies=1, deletes=1), "^Delete")
    assert what == "Delete nothing here, and leave the rest to an action of its own."
    assert (points, tier) == comes_to(facts_of("prod", modifies=1)) and evaluate_matrix(one_left).tier == "high"


def test_smaller_batches_lead_at_worst_to_the_tier_they_promise():
    facts = facts_of("prod", modifies=30)
    what, points, tier = one(facts, "^Split")
    most = int(re.search(r"at most (\d+) file", what)[1])
    assert what.startswith(f"Split it into {-(-30 // most)} actions")
    assert (points, tier) == comes_to(facts_of("prod", modifies=most)) and tier == "medium"


def test_waiting_for_somebody_to_be_there_leads_to_the_tier_it_promises():
    facts = facts_of("prod", modifies=1) | {"window": {**HOURS, "outside": True}}
    assert evaluate_matrix(facts).tier == "high"
    what, points, tier = one(facts, "working hours")
    assert "mon–fri 08:00–18:00 Europe/Berlin" in what
    assert (points, tier) == comes_to(facts_of("prod", modifies=1) | {"window": HOURS}) and tier == "medium"


def test_a_way_to_undo_leads_to_the_tier_it_promises():
    facts = facts_of("prod", modifies=1, irreversible=1)
    _, points, tier = one(facts, "undo the 1 step")
    assert (points, tier) == comes_to(facts_of("prod", modifies=1)) and tier == "medium"


def test_saying_the_cost_leads_to_the_tier_it_promises():
    facts = facts_of("dev", modifies=1, cost_delta=None)
    what, points, tier = one(facts, "its cost: enough")
    limit = re.search(r"less than ([\d,]+)", what)[1].replace(",", "")
    assert (points, tier) == comes_to(facts_of("dev", modifies=1, cost_delta=str(int(limit) - 1))) and tier == "low"


def test_a_safer_place_leads_to_the_tier_it_promises():
    facts = facts_of("prod", modifies=3)
    what, points, tier = one(facts, "^Try it first")
    assert "not production" in what
    assert (points, tier) == comes_to(
        facts_of("elsewhere", modifies=3) | {"environment": {**facts["environment"], "slug": "x"}}
    )
    assert tier == "medium"


def test_the_sensitive_one_apart_leads_to_the_tier_it_promises():
    resources = [{**FILE, "name": "db.conf", "risk_class": "dangerous"}, {**FILE, "name": "a", "risk_class": "safe"}]
    facts = facts_of("staging", modifies=3, deletes=1, resources=resources)
    assert evaluate_matrix(facts).tier == "high"
    what, points, tier = one(facts, "of their own: ")
    assert what == "Change dangerous resources in an action of their own: db.conf."
    assert (points, tier) == comes_to({**facts, "resources": resources[1:]})


@pytest.mark.parametrize(
    "facts",
    [
        facts_of("dev", modifies=1),
        diagnostics("prod", security_level="high"),
        facts_of("dev", modifies=1, security_level="critical"),
        facts_of("dev", modifies=1, risk_class="dangerous"),
        {},
        facts_of("prod", modifies=1) | {"weights": "rubbish"},
    ],
)
def test_nothing_is_promised_where_nothing_helps(facts):
    assert advise(facts, evaluate_matrix(facts).tier) == []


def test_nothing_is_promised_where_another_rule_holds_the_tier_up():
    facts = facts_of("staging", modifies=1)
    assert evaluate_matrix(facts).tier == "medium" and advice(facts) and advise(facts, "critical") == []


@given(FACTS)
def test_every_promise_is_a_lower_tier_and_the_facts_stay_as_they_were(facts):
    kept, tier = copy.deepcopy(facts), evaluate_matrix(facts).tier
    for promised in advise(facts, tier):
        assert promised.keys() == {"what", "score", "tier"}
        assert LEVELS.index(promised["tier"]) < LEVELS.index(tier)
        assert promised["score"] <= evaluate_matrix(facts).blast.score
    assert facts == kept

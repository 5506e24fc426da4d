"""Matrix × tier × people, every combination, against an oracle that knows nothing of how required approvals are filled.

The oracle tries every way to put distinct people on single chairs. Nothing here touches the database; that the same
holds through `decide` is in test_counting.py and below, for each order in which people come.
"""

from itertools import chain, combinations, permutations, product
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from approvals.models import Decision, Request
from approvals.quorum.count import count_approvals, match_approvals
from approvals.requests.decisions import can_decide, decide, is_quorum_met
from approvals.verdict import evaluate_matrix
from audit.database.clock import uuid7
from tenants.models import Principal
from tests.approvals.factory import ENVIRONMENTS, TIERS, facts_of
from tests.approvals.scene import DIGEST, OTHER_DIGEST, a_request

PEOPLE = {
    "ana": {"approver"},
    "ben": {"approver"},
    "cyd": {"security"},
    "dee": {"approver", "security"},
    "eve": set(),
    "requester": {"approver", "security"},
    "owner": {"approver", "security"},
}
EXCLUDED = {"requester", "owner"}
ROWS: dict[str, Any] = {
    "no row": None,
    "nobody": [],
    "one": [{"role": "approver", "count": 1}],
    "two": [{"role": "approver", "count": 2}],
    "one of each": [{"role": "approver", "count": 1}, {"role": "security", "count": 1}],
    "the same role twice": [{"role": "security", "count": 1}, {"role": "security", "count": 1}],
    "three": [{"role": "approver", "count": 2}, {"role": "security", "count": 1}],
    "more than there are": [{"role": "security", "count": 3}],
}
SUBSETS = [*chain.from_iterable(combinations(PEOPLE, n) for n in range(len(PEOPLE) + 1))]
ELSEWHERE = [{"role": "nobody-holds-this", "count": 9}]
IDS = {name: uuid7() for name in PEOPLE}
HELD = {role: {IDS[n] for n, roles in PEOPLE.items() if role in roles} for role in ("approver", "security")}


def chairs(required_approvals: list[dict[str, Any]]) -> list[str]:
    return [required["role"] for required in required_approvals for _ in range(required["count"])]


def everybody_sits(required_approvals: list[dict[str, Any]], people: list[set[str]]) -> bool:
    """Whether some way of putting distinct people on the chairs leaves none empty: tries them all."""
    asked = chairs(required_approvals)
    return any(all(r in p for r, p in zip(asked, some, strict=True)) for some in permutations(people, len(asked)))


def expected(row: Any, deciders: tuple[str, ...]) -> str:
    if row is None:
        return "denied"
    if not row:
        return "waits for its requester to accept"
    return "approved" if everybody_sits(row, [PEOPLE[n] for n in deciders if n not in EXCLUDED]) else "waits for people"


def a_paper(required_approvals: list[dict[str, Any]]) -> Request:
    """A request that is in no database."""
    owner = Principal(pk=IDS["owner"])
    return Request(
        required_approvals=required_approvals,
        digest=DIGEST,
        requester=Principal(pk=IDS["requester"], owner=owner),
        state="open",
        excluded=[str(IDS[name]) for name in EXCLUDED],
    )


def said(principal: UUID, approved: bool = True, digest: str = DIGEST) -> Decision:
    return Decision(principal_id=principal, approved=approved, digest=digest)


def outcome(environment: str, tier: str, row: Any, deciders: tuple[str, ...]) -> str:
    """What the product's own judge and count make of it, told in the oracle's words."""
    matrix = {t: ELSEWHERE for t in TIERS if t != tier} | ({} if row is None else {tier: row})
    verdict = evaluate_matrix(facts_of(environment, modifies=1, security_level=tier, matrix=matrix))
    assert verdict.tier == tier, "the table's tier is not the one that was judged"
    if verdict.outcome == "deny":
        return "denied"
    if verdict.acceptance:
        return "waits for its requester to accept"
    counted = count_approvals(a_paper(verdict.required_approvals), [said(IDS[name]) for name in deciders], HELD)
    sitting = [d.principal_id for row in counted.rows for d in row]
    assert len(sitting) == len(set(sitting)) and counted.missing == len(chairs(row)) - len(sitting)
    return "approved" if counted.missing == 0 else "waits for people"


BLAST = {place: evaluate_matrix(facts_of(place, modifies=1)).blast.tier for place in ENVIRONMENTS}
CELLS = [(e, t) for e, t in product(ENVIRONMENTS, TIERS) if TIERS.index(t) >= TIERS.index(BLAST[e])]


@pytest.mark.parametrize(("environment", "tier"), CELLS)
@pytest.mark.parametrize("row", ROWS)
def test_every_set_of_deciders_comes_to_what_the_oracle_says(environment, tier, row):
    found = {deciders: outcome(environment, tier, ROWS[row], deciders) for deciders in SUBSETS}
    assert found == {deciders: expected(ROWS[row], deciders) for deciders in SUBSETS}


def test_the_table_covers_every_environment_and_tier_and_every_end():
    assert {environment for environment, _ in CELLS} == set(ENVIRONMENTS) and {tier for _, tier in CELLS} == set(TIERS)
    assert {expected(row, deciders) for row in ROWS.values() for deciders in SUBSETS} == {
        "denied",
        "waits for its requester to accept",
        "waits for people",
        "approved",
    }


ROLE = st.sampled_from(["approver", "security", "db-owners"])
APPROVALS = st.lists(st.fixed_dictionaries({"role": ROLE, "count": st.integers(1, 2)}), min_size=1, max_size=3)
VOTE = st.fixed_dictionaries(
    {"who": st.integers(0, 4), "approved": st.booleans(), "digest": st.sampled_from([DIGEST, OTHER_DIGEST])}
)
CROWD = [uuid7() for _ in range(5)]


@given(
    APPROVALS,
    st.lists(st.frozensets(ROLE), min_size=5, max_size=5),
    st.lists(VOTE, max_size=9),
    st.frozensets(st.integers(0, 4)),
)
@example(
    [{"role": "approver", "count": 2}],
    [frozenset({"approver"})] * 5,
    [{"who": 0, "approved": True, "digest": DIGEST}] * 2,
    frozenset(),
)
def test_only_first_approvals_of_this_digest_by_distinct_outsiders_count(required_approvals, roles, votes, excluded):
    """Any votes at all, doubled ones too, as a database without its constraint could hold them."""
    paper = a_paper(required_approvals)
    paper.excluded = [str(CROWD[n]) for n in excluded]
    held = {role: {CROWD[n] for n in range(5) if role in roles[n]} for role in ("approver", "security", "db-owners")}
    counted = count_approvals(paper, [said(CROWD[v["who"]], v["approved"], v["digest"]) for v in votes], held)
    good = {v["who"] for v in votes if v["approved"] and v["digest"] == DIGEST} - excluded
    assert (counted.missing == 0) is everybody_sits(required_approvals, [set(roles[n]) for n in sorted(good)])
    sitting = [d.principal_id for row in counted.rows for d in row]
    assert len(sitting) == len(set(sitting)) and set(sitting) <= {CROWD[n] for n in good}


@given(APPROVALS, st.lists(st.frozensets(ROLE), max_size=5), st.randoms(use_true_random=False))
def test_the_order_in_which_people_come_changes_who_sits_but_not_how_many(required_approvals, roles, chance):
    people = list(enumerate(roles))
    shuffled = chance.sample(people, len(people))
    assert sum(map(len, match_approvals(required_approvals, people))) == sum(
        map(len, match_approvals(required_approvals, shuffled))
    )


@pytest.mark.parametrize("row", ["one of each", "three"])
def test_through_decide_every_order_ends_alike(scene, row):
    """Nobody is turned away who would have been needed, whoever came first."""
    who = ("approver", "both", "security", "approver2")
    for crowd in (who, who[:3], who[:2], (*who[1:3], "operator")):
        ends = set()
        for order in permutations(crowd):
            request = a_request(scene, ROWS[row])
            for name in order:
                request.refresh_from_db()
                if can_decide(request, scene.access(name))[0]:
                    decide(request.pk, scene.access(name), approved=True, digest=DIGEST, comment="")
            request.refresh_from_db()
            ends.add((request.state, is_quorum_met(request)))
        held = [
            SimpleNamespace(
                approver={"approver"},
                both={"approver", "security"},
                security={"security"},
                approver2={"approver"},
                operator=set(),
            ).__dict__[name]
            for name in crowd
        ]
        full = everybody_sits(ROWS[row], held)
        assert ends == {("approved" if full else "open", full)}

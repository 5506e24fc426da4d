"""One person, one required approval; and as many required approvals filled as can be, compared with trying
everything.
"""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from approvals.quorum.count import count_open, match_approvals, matched_role

ROLES = st.sampled_from(["operator", "approver", "security", "db-owners"])
APPROVALS = st.lists(st.fixed_dictionaries({"role": ROLES, "count": st.integers(1, 2)}), max_size=3)
PEOPLE = st.lists(st.frozensets(ROLES), max_size=5).map(lambda roles: list(enumerate(roles)))


def most_approvals(required_approvals, people) -> int:
    """Try every assignment of people to required approvals."""
    best = 0
    for places in product(
        *(
            [None, *(n for n, required in enumerate(required_approvals) if required["role"] in roles)]
            for _, roles in people
        )
    ):
        if all(places.count(n) <= required["count"] for n, required in enumerate(required_approvals)):
            best = max(best, sum(place is not None for place in places))
    return best


@given(APPROVALS, PEOPLE)
def test_the_most_approvals_are_filled_by_distinct_people_who_may(required_approvals, people):
    rows, roles = match_approvals(required_approvals, people), dict(people)
    sitting = [person for row in rows for person in row]
    assert len(sitting) == len(set(sitting)) == most_approvals(required_approvals, people)
    assert all(
        required["role"] in roles[person]
        for required, row in zip(required_approvals, rows, strict=True)
        for person in row
    )
    assert all(len(row) <= required["count"] for required, row in zip(required_approvals, rows, strict=True))
    assert count_open(required_approvals, rows) == sum(required["count"] for required in required_approvals) - len(
        sitting
    )


@given(APPROVALS, PEOPLE, st.frozensets(ROLES))
def test_one_more_person_never_displaces_anybody(required_approvals, people, roles):
    before = {person for row in match_approvals(required_approvals, people) for person in row}
    after = {person for row in match_approvals(required_approvals, [*people, ("late", roles)]) for person in row}
    assert before <= after and len(after) - len(before) <= 1


def test_somebody_with_two_roles_fills_one_approval():
    required_approvals = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]
    rows = match_approvals(required_approvals, [("ana", {"approver", "security"})])
    assert rows == [["ana"], []] and matched_role("ana", required_approvals, rows) == "approver"


def test_somebody_with_two_roles_makes_room_for_somebody_with_one():
    required_approvals = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]
    rows = match_approvals(required_approvals, [("ana", {"approver", "security"}), ("ben", {"approver"})])
    assert rows == [["ben"], ["ana"]] and count_open(required_approvals, rows) == 0


def test_the_same_role_in_two_rows_needs_two_people():
    required_approvals = [{"role": "approver", "count": 1}, {"role": "approver", "count": 1}]
    assert count_open(required_approvals, match_approvals(required_approvals, [("ana", {"approver"})])) == 1

"""One person, one seat; and as many seats filled as can be, compared with trying everything."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from approvals.quorum import fill, open_seats, seat_of

ROLES = st.sampled_from(["operator", "approver", "security", "db-owners"])
SEATS = st.lists(st.fixed_dictionaries({"role": ROLES, "count": st.integers(1, 2)}), max_size=3)
PEOPLE = st.lists(st.frozensets(ROLES), max_size=5).map(lambda roles: list(enumerate(roles)))


def most_seats(seats, people) -> int:
    """Try every assignment of people to seats."""
    best = 0
    for places in product(
        *([None, *(n for n, seat in enumerate(seats) if seat["role"] in roles)] for _, roles in people)
    ):
        if all(places.count(n) <= seat["count"] for n, seat in enumerate(seats)):
            best = max(best, sum(place is not None for place in places))
    return best


@given(SEATS, PEOPLE)
def test_the_most_seats_are_filled_by_distinct_people_who_may(seats, people):
    rows, roles = fill(seats, people), dict(people)
    sitting = [person for row in rows for person in row]
    assert len(sitting) == len(set(sitting)) == most_seats(seats, people)
    assert all(seat["role"] in roles[person] for seat, row in zip(seats, rows, strict=True) for person in row)
    assert all(len(row) <= seat["count"] for seat, row in zip(seats, rows, strict=True))
    assert open_seats(seats, rows) == sum(seat["count"] for seat in seats) - len(sitting)


@given(SEATS, PEOPLE, st.frozensets(ROLES))
def test_one_more_person_never_unseats_anybody(seats, people, roles):
    before = {person for row in fill(seats, people) for person in row}
    after = {person for row in fill(seats, [*people, ("late", roles)]) for person in row}
    assert before <= after and len(after) - len(before) <= 1


def test_somebody_with_two_roles_fills_one_seat():
    seats = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]
    rows = fill(seats, [("ana", {"approver", "security"})])
    assert rows == [["ana"], []] and seat_of("ana", seats, rows) == "approver"


def test_somebody_with_two_roles_makes_room_for_somebody_with_one():
    seats = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]
    rows = fill(seats, [("ana", {"approver", "security"}), ("ben", {"approver"})])
    assert rows == [["ben"], ["ana"]] and open_seats(seats, rows) == 0


def test_the_same_role_in_two_rows_needs_two_people():
    seats = [{"role": "approver", "count": 1}, {"role": "approver", "count": 1}]
    assert open_seats(seats, fill(seats, [("ana", {"approver"})])) == 1

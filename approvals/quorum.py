"""Who fills which seat. Pure: people and their roles in, seats out."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, TypeVar

P = TypeVar("P", bound=Hashable)


def fill(seats: Sequence[Mapping[str, Any]], people: Sequence[tuple[P, Collection[str]]]) -> list[list[P]]:
    """Seat as many of `people` (who, their roles) as possible, one seat each; return who sits in each of `seats`.

    A maximum bipartite matching by augmenting paths (Kuhn 1955), seats having a capacity. Earlier people are never
    unseated by later ones, but may move to another seat they can fill. Nobody sits twice, whoever comes first.
    """
    taken: list[list[int]] = [[] for _ in seats]

    def place(person: int, tried: set[int]) -> bool:
        for n, seat in enumerate(seats):
            if n in tried or seat["role"] not in people[person][1]:
                continue
            tried.add(n)
            if len(taken[n]) < seat["count"]:
                taken[n].append(person)
                return True
            for i, other in enumerate(taken[n]):
                if place(other, tried):
                    taken[n][i] = person
                    return True
        return False

    for person in range(len(people)):
        place(person, set())
    return [[people[person][0] for person in sorted(row)] for row in taken]


def seat_of(person: P, seats: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[P]]) -> str:
    """The role of the seat that a person has been given, or "" if none."""
    return next((seat["role"] for seat, row in zip(seats, rows, strict=True) if person in row), "")


def open_seats(seats: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[Any]]) -> int:
    """How many seats nobody fills yet."""
    return sum(seat["count"] - len(row) for seat, row in zip(seats, rows, strict=True))

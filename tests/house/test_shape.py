"""The shape of the house: few modules, small rooms, no circles. `python -m tests.house.shape` prints the figures."""

import pytest

from tests.house import shape


def test_the_house_has_no_more_modules_than_one_can_know() -> None:
    modules = [path for path in shape.sources() if path.name != "__init__.py"]
    assert len(modules) <= shape.MAX_MODULES


@pytest.mark.parametrize("floor", shape.FLOORS)
def test_few_files_are_at_the_root_of_a_floor(floor: str) -> None:
    files = [str(path) for path in shape.root_files(floor)]
    assert len(files) <= shape.MAX_ROOT_FILES, files


def test_no_room_is_crowded() -> None:
    assert not {str(room): n for room, n in shape.room_sizes().items() if n > shape.MAX_ROOM_FILES}


def test_no_file_is_too_long_to_read() -> None:
    assert not {str(path): n for path in shape.sources() if (n := shape.lines_of(path)) > shape.MAX_LINES}


@pytest.mark.parametrize("floor", shape.FLOORS)
def test_no_rooms_import_one_another_in_a_circle(floor: str) -> None:
    assert not shape.cycles(floor)


def test_nothing_switches_the_formatter_off() -> None:
    assert not shape.unformatted()


def test_a_circle_would_be_found() -> None:
    graph = {"pages": {"queries"}, "queries": {"models", "run"}, "run": {"queries"}}
    assert {frozenset(group) for group in shape.strongly_connected(graph)} == {
        frozenset({"pages"}),
        frozenset({"models"}),
        frozenset({"queries", "run"}),
    }

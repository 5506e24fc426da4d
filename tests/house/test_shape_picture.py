"""The picture of the rooms is drawn from the imports, so that it cannot lie."""

from tests.house.shape import ROOT, picture


def test_the_picture_in_the_docs_shows_the_imports_of_today() -> None:
    assert picture() in (ROOT / "docs" / "rooms.md").read_text(), "run: python -m tests.house.shape picture"

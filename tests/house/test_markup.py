"""All templates, the admin's too: nothing inline that the strict CSP would refuse, and icons that exist."""

import re
from pathlib import Path

import lucide
import pytest

from tests.house.shape import MAX_LINES, ROOT

TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*") if path.suffix in (".html", ".txt", ".svg"))
INLINE = {
    "a script": re.compile(r"<script(?![^>]*\ssrc=)", re.I),
    "a style element": re.compile(r"<style", re.I),
    "a style attribute": re.compile(r"""<[^>]*\sstyle\s*=\s*["']""", re.I),
    "an event handler": re.compile(r"""<[^>]*\son[a-z]+\s*=\s*["']""", re.I),
    "a javascript address": re.compile(r"javascript:", re.I),
    "something from another host": re.compile(r"""(?:src|srcset|action)\s*=\s*["'](?:https?:)?//""", re.I),
}
ICON = re.compile(r"""{%\s*icon\s+"([^"]+)"|icon_name="([^"]+)\"""")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_nothing_inline_and_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    assert not [what for what, pattern in INLINE.items() if pattern.search(text)]


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_every_named_icon_exists(path: Path) -> None:
    for found in ICON.finditer(path.read_text()):
        assert lucide._load_icon(found[1] or found[2]) is not None


def test_scripts_make_no_markup_from_text_and_run_no_text() -> None:
    risky = re.compile(r"\beval\(|new Function\(|document\.write\(|insertAdjacentHTML|\.outerHTML\s*=")
    ours = list((ROOT / "static" / "js").glob("*.js"))
    assert ours
    assert not [f"{named(path)}: {m[0]}" for path in ours for m in risky.finditer(path.read_text())]


def test_no_file_of_tests_styles_or_scripts_is_too_long_to_read() -> None:
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "static").rglob("*.js"), *(ROOT / "static").rglob("*.css")]
    lengths = {named(path): len(path.read_text().splitlines()) for path in files}
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_LINES}

"""What every template must keep: the strict CSP, real icons, and sizes that can be read."""

import re
from pathlib import Path

import lucide
import pytest

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
PRODUCT = [p for p in TEMPLATES.rglob("*.html") if "admin" not in p.parts]
FORBIDDEN = re.compile(
    r"""\sstyle\s*=|<style|\son[a-z]+\s*=\s*["']|hx-on|js:|javascript:|<script(?![^>]*\ssrc=)|hx-trigger="[^"]*\[""",
    re.IGNORECASE,
)
ICON = re.compile(r'{% icon "([\w-]+)"')


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(TEMPLATES)))
def test_no_template_needs_more_than_the_strict_csp_gives(path: Path) -> None:
    assert not FORBIDDEN.findall(path.read_text())


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(TEMPLATES)))
def test_every_icon_that_is_named_exists(path: Path) -> None:
    for name in ICON.findall(path.read_text()):
        assert lucide._load_icon(name) is not None

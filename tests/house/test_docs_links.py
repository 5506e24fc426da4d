"""What the documentation names is there: files, headings, settings, commands, addresses."""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from config.env import Environment
from tests.suite import ROOT

GUIDE_LINES = 150
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OPERATIONS = ROOT / "docs" / "deployment.md", ROOT / "docs" / "admins.md"
FENCE = re.compile(r"^(```|~~~).*?^\1", re.S | re.M)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SETTING = re.compile(r"\bINTERLOCK_[A-Z_]+[A-Z]\b")
OUR_FILE = re.compile(r"`((?:actions|approvals|audit|config|docs|static|templates|tenants|tests)/[\w./-]+)`")
MANAGE = re.compile(r"\bmanage\.py ([a-z_]+)")
MAKE = re.compile(r"`(?:PORT=\S+ )?make ([a-z-]+)`|^(?:PORT=\S+ )?make ([a-z-]+)", re.M)
MODULE = re.compile(r"\bpython3? -m ([\w.]+)")
ADDRESS = re.compile(r"`(?:GET |POST |DELETE )?(/(?:api|ws|healthz|readyz|metrics)[^`\s?]*)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def headings(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def words(text: str, pattern: re.Pattern[str]) -> set[str]:
    """What a pattern finds in a text; of several groups the one that matched."""
    return {next(filter(None, match.groups())) for match in pattern.finditer(text)}


@pytest.mark.parametrize("path", TEXTS, ids=named)
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    lost = []
    for link in LINK.findall(FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        is_there = target.exists() and target.is_relative_to(ROOT)
        if not is_there or (anchor and anchor not in headings(target.read_text())):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("path", TEXTS, ids=named)
def test_every_file_of_ours_that_is_named_exists(path: Path) -> None:
    assert not [name for name in OUR_FILE.findall(path.read_text()) if not (ROOT / name).exists()]


def test_every_setting_is_documented() -> None:
    fields = Environment.model_fields.items()
    names = {field.alias or f"INTERLOCK_{name.upper()}" for name, field in fields}
    told = "".join(path.read_text() for path in OPERATIONS)
    assert not {name for name in names if f"`{name}`" not in told}


def test_no_setting_is_documented_that_there_is_not() -> None:
    names = {f"INTERLOCK_{name.upper()}" for name in Environment.model_fields} | {"INTERLOCK_TEST_DB"}
    told = {named(path): set(SETTING.findall(path.read_text())) - names for path in TEXTS}
    assert not {path: unknown for path, unknown in told.items() if unknown}


def test_every_command_exists() -> None:
    """`manage.py …`, `make …`, `python -m …`, wherever they stand."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    known = set(get_commands())
    for path in TEXTS:
        text = path.read_text()
        assert words(text, MANAGE) <= known, named(path)
        assert words(text, MAKE) <= targets, named(path)
        assert all(find_spec(module) for module in words(text, MODULE)), named(path)


def test_every_address_exists() -> None:
    """Addresses of the API are resolved; sockets are looked for in their own table."""
    sockets = {"/ws/", "/ws/queue/", "/ws/actions/{id}/"}
    lost = []
    for path in TEXTS:
        for address in words(path.read_text(), ADDRESS) - sockets - {"/api/"}:
            try:
                resolve(re.sub(r"\{\w+\}", "01a1fc92-b507-75cf-bfb9-899524b429f7", address).replace("…", ""))
            except Resolver404:
                lost.append(f"{named(path)}: {address}")
    assert not lost


def test_a_guide_is_short_enough_to_be_read() -> None:
    assert not {named(path) for path in TEXTS if len(path.read_text().splitlines()) > GUIDE_LINES}


def test_the_commands_of_the_readme_come_first() -> None:
    """A newcomer finds both commands on the first screen."""
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    assert "make run" in screen and "make test" in screen
    ran = subprocess.run(["make", "-n", "run", "test"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr

"""Set papers: PDF/A-3a by typst, tagged, the same bytes every time, with files attached inside.

A template is a file in `typst/` that defines `body(data)`; how every paper looks is in `typst/house.typ`. What a person
or a program wrote reaches typst as JSON only, so it can be text on the page and never markup or code. The fonts are
those of our packages, never the machine's.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import typst
from fontTools.ttLib import TTFont

from audit.changes.masking import HOSTILE, code_point
from audit.changes.render import SECRET

TEMPLATES = Path(__file__).parent / "typst"
FONTS = (("fontpkg_inter", "Inter[opsz,wght].ttf"), ("fontpkg_jetbrains_mono", "JetBrainsMono[wght].ttf"))
SUBPROCESS = Path(__file__).parent / "typst_subprocess.py"
SMALL_CHARS = 64 * 1024  # of data; what is longer is set in a process of its own
TIMEOUT_S = 120
NAME = re.compile(r"[a-z_]{1,40}")
LONG_WORD = re.compile(r"[^\s\u200b]{24,}")
MAIN = """
#import "house.typ": house
#import "{template}.typ": body
#let given = json("given.json")
#show: house.with(given)
#body(given.data)
"""
Attached = tuple[str, bytes, str]  # name, content, media type


def render_pdf(template: str, data: dict[str, Any], attachments: Sequence[Attached], title: str, at: datetime) -> bytes:
    """Set `typst/<template>.typ` with `data` (what JSON can say; every string is made printable); return the PDF.

    The same arguments give the same bytes: `at` is the only date in them. Takes 50 ms for a page, about two
    seconds for 30. Raises TypesettingFailed when typst refuses, or takes two minutes.
    """
    if not NAME.fullmatch(template):
        raise ValueError(f"{template!r} is not the name of a template")
    moment = at.astimezone(UTC)
    given = {
        "title": printable(title),
        "date": [moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second],
        "attached": [
            {"name": name, "path": f"attached-{n}", "type": media_type.split(";")[0], "bytes": len(content)}
            for n, (name, content, media_type) in enumerate(attachments)
        ],
        "data": _printable_all(data),
    }
    with tempfile.TemporaryDirectory(prefix="interlock-paper-") as scratch:
        root = Path(scratch)
        for source in TEMPLATES.glob("*.typ"):
            shutil.copyfile(source, root / source.name)
        (root / "main.typ").write_text(MAIN.format(template=template))
        text = json.dumps(given, ensure_ascii=False)
        (root / "given.json").write_text(text, encoding="utf-8")
        for n, (_, content, _) in enumerate(attachments):
            (root / f"attached-{n}").write_bytes(content)
        compiled = _compile if len(text) <= SMALL_CHARS else _compile_in_subprocess
        return compiled(root, int(moment.timestamp()))


class TypesettingFailed(RuntimeError):
    """Typst could not typeset this."""


class Prepared(str):
    """Text that was made printable before, and gets no more places to break at."""


def printable(text: str, *, words: bool = True) -> str:
    """Text that our fonts can set: hostile and unknown characters as ‹U+202E›, masks as ‹secret fp›, no tabs.

    PDF/A allows no missing glyph. Very long words get places to break at, unless `words` is False.
    """
    if isinstance(text, Prepared):
        return text
    text = SECRET.sub(r"‹secret \1›", text).replace("\t", "    ").replace("\r\n", "\n")
    text = HOSTILE.sub(lambda match: f"‹{code_point(match[0])}›", text)
    if not text.isascii():
        known = _known_code_points()
        text = "".join(c if ord(c) in known else f"‹{code_point(c)}›" for c in text)
    return text if not words else LONG_WORD.sub(lambda match: _breakable(match[0]), text)


def _printable_all(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {name: _printable_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable_all(item) for item in value]
    return value


def _breakable(word: str) -> str:
    return "\u200b".join(word[n : n + 8] for n in range(0, len(word), 8))


def _compile(root: Path, timestamp: int) -> bytes:
    try:
        return typst.compile(
            str(root / "main.typ"),
            root=str(root),
            font_paths=_fonts(),
            ignore_system_fonts=True,
            format="pdf",
            pdf_standards="a-3a",
            timestamp=timestamp,
        )
    except typst.TypstError as error:
        raise TypesettingFailed(str(error)) from error


def _compile_in_subprocess(root: Path, timestamp: int) -> bytes:
    """In a process of its own: typst keeps what it worked out for the next time, hundreds of MB for a long paper."""
    out = root / "out.pdf"
    script = [sys.executable, "-I", str(SUBPROCESS), str(root), str(out), str(timestamp), *_folders()]
    try:
        subprocess.run(script, check=True, capture_output=True, timeout=TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        raise TypesettingFailed(error.stderr.decode("utf-8", "replace")[-2000:]) from error
    except subprocess.TimeoutExpired as error:
        raise TypesettingFailed(f"it took more than {TIMEOUT_S} s") from error
    return out.read_bytes()


def _folder(package: str) -> Path:
    return Path(str(files(package))) / "files"


def _folders() -> list[str]:
    return [str(_folder(package)) for package, _ in FONTS]


@cache
def _fonts() -> typst.Fonts:
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=_folders())


@cache
def _known_code_points() -> frozenset[int]:
    """The code points that any of the fonts has a glyph for; U+000A and the break that we put in ourselves."""
    known = {0x0A, 0x200B}
    for package, name in FONTS:
        with TTFont(_folder(package) / name) as font:
            known.update(font.getBestCmap())
    return frozenset(known)

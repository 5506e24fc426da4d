"""Cut Inter and JetBrains Mono from their packages to what the pages use: Latin, and the CSS's weights and features."""

import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

LATIN = [
    *range(0x20, 0x7F),
    *range(0xA0, 0x250),
    *range(0x2010, 0x2028),
    0x2030,
    0x2039,
    0x203A,
    0x20AC,
    0x2122,
    *range(0x2190, 0x2194),
    0x2212,
    0x2248,
    0x2260,
    0x2264,
    0x2265,
    0x27E6,
    0x27E7,
]


@dataclass(frozen=True)
class Cut:
    """One font: where it comes from, which axes are pinned or narrowed, which OpenType features stay."""

    out: str
    package: str
    source: str
    licence: str
    axes: dict[str, Any]
    features: tuple[str, ...]

    def stamp(self) -> str:
        said = f"{self.package} {version(self.package.replace('_', '-'))} {self.axes} {self.features} {LATIN}"
        return hashlib.sha256(said.encode()).hexdigest()


CUTS = (
    Cut(
        "interlock-inter.woff2",
        "fontpkg_inter",
        "Inter[opsz,wght].ttf",
        "OFL-Inter.txt",
        {"opsz": 14, "wght": (400, 700)},
        ("kern", "liga", "calt", "ccmp", "locl", "mark", "mkmk", "tnum", "zero", "case", "ss02"),
    ),
    Cut(
        "interlock-mono.woff2",
        "fontpkg_jetbrains_mono",
        "JetBrainsMono[wght].ttf",
        "OFL-JetBrainsMono.txt",
        {},
        ("kern", "ccmp", "locl", "mark", "mkmk", "zero"),
    ),
)


class Command(BaseCommand):
    help = "Build the web fonts into static/fonts. Quick when nothing changed."

    def handle(self, *args: Any, **options: Any) -> None:
        logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every glyph at INFO
        folder = Path(settings.STATICFILES_DIRS[0]) / "fonts"
        folder.mkdir(parents=True, exist_ok=True)
        for cut in CUTS:
            stamp = folder / f"{cut.out}.stamp"
            if stamp.exists() and stamp.read_text() == cut.stamp() and (folder / cut.out).exists():
                continue
            data = cut_font(cut)
            _put(folder / cut.out, data)
            _put(folder / cut.licence, (files(cut.package) / "LICENSE").read_bytes())
            _put(stamp, cut.stamp().encode())
            self.stdout.write(f"{cut.out}: {len(data) / 1024:.0f} KB")


def cut_font(cut: Cut) -> bytes:
    """Return the woff2 bytes of one cut. Takes a few seconds."""
    found = next(path for path in _walk(files(cut.package)) if path.name == cut.source)
    font = TTFont(BytesIO(found.read_bytes()))
    if cut.axes:
        whole = BytesIO()
        instancer.instantiateVariableFont(font, cut.axes).save(whole)
        font = TTFont(BytesIO(whole.getvalue()))  # the subsetter needs the tables as they read back
    options = Options(
        layout_features=list(cut.features), flavor="woff2", notdef_outline=True, name_IDs=[0, 1, 2, 13, 14]
    )
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=[u for u in LATIN if u in font.getBestCmap()])
    subsetter.subset(font)
    font.flavor = "woff2"
    out = BytesIO()
    font.save(out)
    return out.getvalue()


def _put(path: Path, data: bytes) -> None:
    """Write by rename: another process may build the same assets, or serve them, at this moment."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as scratch:
        scratch.write(data)
    os.chmod(scratch.name, 0o644)
    os.replace(scratch.name, path)


def _walk(folder: Any) -> Any:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path

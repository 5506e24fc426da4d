"""A subject's events along a line of time, a lane for each who acted; the table beside it says the same in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from audit import charts
from audit.changes.visible import visible
from audit.log_rows import Row

LANE, TOP = 30, 8
MOST_LANES = 12
LEFT, RIGHT = 1.5, 98.5
LONG_S = 60.0
"""A wait that is worth a word."""


@dataclass(frozen=True)
class Moment:
    """An event with the time since the one before it."""

    row: Row
    gap: timedelta | None
    x: float
    lane: int

    @property
    def is_long(self) -> bool:
        return self.gap is not None and self.gap.total_seconds() >= LONG_S


def moments(rows: Sequence[Row]) -> tuple[list[Moment], list[str]]:
    """The rows, oldest first, placed: far apart after long waits (by logarithm), a lane each for those who acted."""
    lanes = list(dict.fromkeys(row.who for row in rows))[:MOST_LANES]
    gaps = [None, *(b.event.at - a.event.at for a, b in zip(rows, rows[1:], strict=False))]
    steps = [0.0 if gap is None else 1 + math.log1p(max(gap.total_seconds(), 0.0)) for gap in gaps]
    whole, at, placed = sum(steps) or 1.0, 0.0, []
    for row, gap, step in zip(rows, gaps, steps, strict=True):
        at += step
        lane = lanes.index(row.who) if row.who in lanes else MOST_LANES - 1
        placed.append(Moment(row, gap, LEFT + (RIGHT - LEFT) * at / whole, lane))
    return placed, lanes


def drawn(placed: Sequence[Moment], lanes: Sequence[str]) -> SafeString:
    """The picture: lanes of dots, joined in the order of time."""
    height = TOP + LANE * max(len(lanes), 1)
    out = [charts.hline("tl-lane", _y(n)) for n in range(len(lanes))]
    for a, b in zip(placed, placed[1:], strict=False):
        long = " tl-wait" if b.is_long else ""
        out.append(f'<line class="tl-join{long}" x1="{charts.n(a.x)}%" x2="{charts.n(b.x)}%" '
                   f'y1="{_y(a.lane)}" y2="{_y(b.lane)}"/>')  # fmt: skip
    for it in placed:
        row = it.row
        words = escape(visible(f"#{row.event.seq} {row.event.verb}, {row.who}, {row.event.at:%Y-%m-%d %H:%M:%S} UTC"))
        look = f" tl-{row.look}" if row.look else ""
        out.append(f'<circle class="tl-dot{look}" cx="{charts.n(it.x)}%" cy="{_y(it.lane)}" r="5">'
                   f"<title>{words}</title></circle>")  # fmt: skip
    label = f"{len(placed)} events in order of time; the table below says the same"
    return mark_safe(charts.svg("tl__svg", height, out, label))


def _y(lane: int) -> int:
    return TOP + lane * LANE + LANE // 2 - 4

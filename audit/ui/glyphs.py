"""State glyphs, risk bars, the brand mark and the plan seal: small SVG strings.

Everything is class-based (no style attributes) so that it survives ``style-src 'self'``. A ring works, a hexagon waits,
an octagon refuses, a disc has ended.
"""

import hashlib
import math
from functools import lru_cache

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

HEX = "M8 1.1 13.98 4.55v6.9L8 14.9 2.02 11.45v-6.9Z"
OCT = "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3l-3.8-3.8V5.3Z"
RING = '<circle class="g-l" cx="8" cy="8" r="5.9"/>'
DISC = '<circle class="g-f" cx="8" cy="8" r="6.9"/>'
TURNING = '<circle class="g-t" cx="8" cy="8" r="5.9"/><path class="g-l g-spin" d="M8 2.1A5.9 5.9 0 1 1 2.1 8"/>'

GLYPHS = {
    "queued": '<circle class="g-l" cx="8" cy="8" r="5.9" stroke-dasharray="2.1 2.53"/>',
    "preflight": RING + '<path class="g-f" d="M8 8V4.2a3.8 3.8 0 0 1 3.3 5.7Z"/>',
    "denied": f'<path class="g-l" d="{OCT}"/><path class="g-l" d="m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4"/>',
    "awaiting_approval": f'<path class="g-f" d="{HEX}"/><path class="g-k" d="M6.35 5.4v5.2M9.65 5.4v5.2"/>',
    "approved": f'<path class="g-l" d="{HEX}"/><path class="g-l" d="m5.4 8.2 1.8 1.8 3.3-3.7"/>',
    "in_progress": TURNING,
    "verifying": '<circle class="g-l" cx="8" cy="8" r="5.9" stroke-dasharray="27.8 9.27" stroke-dashoffset="-4.6"/>'
    '<path class="g-l" d="m5.5 8.2 1.8 1.8 3.3-3.7"/>',
    "rolling_back": '<circle class="g-t" cx="8" cy="8" r="5.9"/>'
    '<path class="g-l g-back" d="M8 2.1A5.9 5.9 0 1 0 13.9 8"/>',
    "held": f'<path class="g-f" d="{HEX}"/><path class="g-k" d="M8 4.9v3.9M8 11v.1"/>',
    "completed": DISC + '<path class="g-k" d="m5 8.3 2.1 2.1L11.1 6"/>',
    "failed": DISC + '<path class="g-k" d="m5.7 5.7 4.6 4.6m0-4.6-4.6 4.6"/>',
    "rolled_back": DISC + '<path class="g-k" d="M6.6 4.6 4.7 6.5l1.9 1.9M4.9 6.5h3.9a2.3 2.3 0 0 1 0 4.6H6.6"/>',
    "rejected": f'<path class="g-f" d="{OCT}"/><path class="g-k" d="M4.9 8h6.2"/>',
    "cancelled": RING + '<path class="g-l" d="m3.9 12.1 8.2-8.2"/>',
    "expired": '<circle class="g-l" cx="8" cy="8" r="5.9" stroke-dasharray="28 9.07" stroke-dashoffset="-9.3"/>'
    '<path class="g-l" d="M8 4.8V8l2 1.6"/>',
    "pending": RING,
    "waiting": '<circle class="g-l" cx="8" cy="8" r="5.9" stroke-dasharray="2.1 2.53"/>'
    '<path class="g-l" d="M8 4.8V8l2 1.6"/>',
    "skipped": RING + '<path class="g-l" d="M5.6 8h4.8"/>',
    "hold": f'<path class="g-l" d="{HEX}"/><path class="g-l" d="M6.35 5.8v4.4M9.65 5.8v4.4"/>',
    "warn": '<path class="g-f" d="M8 1.6c.6 0 1.1.3 1.4.8l5.2 9.4c.6 1.1-.2 2.4-1.4 2.4H2.8c-1.2 0-2-1.3-1.4-2.4'
    'l5.2-9.4c.3-.5.8-.8 1.4-.8Z"/><path class="g-k" d="M8 5.7v3.2M8 11.3v.1"/>',
    "require": f'<path class="g-l" d="{HEX}"/><path class="g-l" d="M8 5.3v5.4M5.3 8h5.4"/>',
}

LABELS = {
    "queued": "Queued",
    "preflight": "Preflight",
    "denied": "Denied",
    "awaiting_approval": "Awaiting approval",
    "approved": "Approved",
    "in_progress": "In progress",
    "verifying": "Verifying",
    "rolling_back": "Rolling back",
    "held": "Held",
    "completed": "Completed",
    "failed": "Failed",
    "rolled_back": "Rolled back",
    "rejected": "Rejected",
    "cancelled": "Cancelled",
    "expired": "Expired",
    "pending": "Pending",
    "waiting": "Waiting",
    "skipped": "Skipped",
}
"""Words for the lifecycle's states and a step's (`pending`, `waiting`, `skipped`)."""

TIERS = ("low", "medium", "high", "critical")
TIER_FROM = (0, 25, 50, 75)


@lru_cache(maxsize=64)
def glyph(state: str) -> SafeString:
    """Return the 16 px glyph of a state; an unknown state is drawn as the pending ring."""
    name = state if state in GLYPHS else "pending"
    return mark_safe(
        f'<svg class="g g--{name}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{GLYPHS[name]}</svg>'
    )


def tier_for(score: int) -> str:
    """Return the blast tier of a score (0–100)."""
    return TIERS[sum(score >= floor for floor in TIER_FROM) - 1]


@lru_cache(maxsize=8)
def risk_bars(tier: str) -> SafeString:
    """Draw a tier as one to four bars, so that colour is never the only signal."""
    lit = TIERS.index(tier) + 1 if tier in TIERS else 0
    bars = "".join(
        f'<rect x="{i * 4}" y="{9 - i * 3}" width="2.8" height="{4 + i * 3}" rx="0.9" '
        f'class="{"on" if i < lit else "off"}"/>'
        for i in range(4)
    )
    return mark_safe(
        f'<svg class="bars bars--{tier or "none"}" viewBox="0 0 15 13" width="15" height="13" aria-hidden="true">'
        f"{bars}</svg>"
    )


def mark(size: int = 24) -> SafeString:
    """Two gates, and the work held between them: an H, in a hexagon."""
    return format_html(
        '<svg class="mark" viewBox="0 0 32 32" width="{0}" height="{0}" aria-hidden="true">'
        '<path class="mark__hex" d="M16 1.6 28.5 8.8v14.4L16 30.4 3.5 23.2V8.8Z"/>'
        '<path class="mark__gate" d="M11 10v12M21 10v12"/><circle class="mark__dot" cx="16" cy="16" r="2.3"/></svg>',
        size,
    )


@lru_cache(maxsize=1)
def _cells() -> list[list[str]]:
    """The seal's triangles as SVG paths, mirrored pairs together, in a fixed order."""
    side = 2

    def inside(i: int, j: int) -> bool:
        return max(abs(i), abs(j), abs(i + j)) <= side

    def xy(i: int, j: int) -> tuple[float, float]:  # pointy-top axial coordinates
        return j * math.sqrt(3) / 2, i + j / 2

    cells: dict[tuple[float, float], list[str]] = {}
    for i in range(-side, side):
        for j in range(-side, side + 1):
            for tri in (((i, j), (i + 1, j), (i, j + 1)), ((i + 1, j), (i + 1, j - 1), (i, j))):
                if all(inside(*p) for p in tri):
                    points = [xy(*p) for p in tri]
                    middle = sum(p[0] for p in points) / 3, sum(p[1] for p in points) / 3
                    path = "M" + "L".join(f"{x * 7.4 + 16:.2f} {y * 7.4 + 16:.2f}" for x, y in points) + "Z"
                    cells.setdefault((round(abs(middle[0]), 3), round(middle[1], 3)), []).append(path)
    return [cells[key] for key in sorted(cells)]


@lru_cache(maxsize=256)
def seal(digest: str, size: int = 32) -> SafeString:
    """Draw the plan seal: a hexagon of 24 mirrored triangles, from the plan's digest.

    A second channel, next to the hex digits, for a person to see that the plan on the phone, in the ticket and in the
    evidence pack is the same one. Never the only check.
    """
    raw = hashlib.sha256(f"seal:{digest}".encode()).digest()
    triangles = "".join(
        f'<path class="seal-{(0, 1, 1, 2, 2, 3)[raw[k % 32] % 6]}" d="{path}"/>'
        for k, pair in enumerate(_cells())
        for path in pair
    )
    return format_html(
        '<svg class="seal" viewBox="0 0 32 32" width="{0}" height="{0}" role="img" aria-label="Plan seal for {1}">{2}'
        '<path class="seal-edge" d="M16 1.2 28.82 8.6v14.8L16 30.8 3.18 23.4V8.6Z"/></svg>',
        size,
        digest[:8],
        mark_safe(triangles),
    )

"""Server-rendered SVG charts under ``style-src 'self'``: geometry in attributes, looks in classes.

Horizontal positions are percentages and there is no viewBox, so a chart stretches with its card while text, strokes and
corners keep their size. Vertical positions are pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

HEX = "M8 1.1 13.98 4.55v6.9L8 14.9 2.02 11.45v-6.9Z"
TICK = "m5.4 8.2 1.8 1.8 3.4-3.8"
ROW = 36
"""Height of a timeline row in px; run.css gives the names beside it the same."""


def n(x: float) -> str:
    return f"{x:.2f}".rstrip("0").rstrip(".")


def rect(cls: str, x: float, y: float, w: float, h: float, rx: float = 0) -> str:
    r = f' rx="{rx}"' if rx else ""
    return f'<rect class="{cls}" x="{n(x)}%" y="{n(y)}" width="{n(max(w, 0))}%" height="{n(h)}"{r}/>'


def vline(cls: str, x: float, y1: float, y2: float) -> str:
    return f'<line class="{cls}" x1="{n(x)}%" x2="{n(x)}%" y1="{n(y1)}" y2="{n(y2)}"/>'


def hline(cls: str, y: float, x1: float = 0, x2: float = 100) -> str:
    return f'<line class="{cls}" x1="{n(x1)}%" x2="{n(x2)}%" y1="{n(y)}" y2="{n(y)}"/>'


def text(cls: str, x: float, y: float, s: str, anchor: str = "start") -> str:
    return f'<text class="{cls}" x="{n(x)}%" y="{n(y)}" text-anchor="{anchor}">{escape(s)}</text>'


def svg(cls: str, height: float, body: Sequence[str], label: str = "") -> str:
    a11y = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    return f'<svg class="{cls}" width="100%" height="{n(height)}" {a11y}>{"".join(body)}</svg>'


def bar(value: float, total: float, cls: str = "") -> SafeString:
    """A 4 px meter."""
    share = 100 * min(max(value, 0), total) / total if total else 0
    return mark_safe(
        f'<svg class="meter {escape(cls)}" width="100%" height="4" aria-hidden="true">'
        '<rect class="meter__track" width="100%" height="4" rx="2"/>'
        f'<rect class="meter__fill" width="{n(share)}%" height="4" rx="2"/></svg>'
    )


def blast(points: Sequence[int], height: int = 16) -> SafeString:
    """The blast score as a stack: each factor's points on the 0–100 scale."""
    out, x = [rect("bl-track", 0, 0, 100, height)], 0
    for k, p in enumerate(points):
        out.append(rect(f"bl-seg bl-{min(k, 9)}", x, 0, p, height))
        x += p
    out.append(f'<line class="bl-end" x1="{x}%" x2="{x}%" y1="0" y2="{height}"/>')
    return mark_safe(svg("blast__svg", height, out))


def segments(segs: Sequence[tuple[float, float, float, str]], height: int = 12) -> SafeString:
    """Run progress in parts: (from, to, done, state) in per cent; state is `done`, `run`, `bad` or `back`."""
    out = []
    for a, b, done, state in segs:
        gap = min(0.15, (b - a) / 8)
        out.append(rect("rb-track", a + gap, 0, b - a - 2 * gap, height, 3))
        if done > a:
            out.append(rect(f"rb-{state}", a + gap, 0, done - a - 2 * gap, height, 3))
    return mark_safe(svg("rb", height, out))


def gantt(
    rows: Sequence[Sequence[tuple[float, float, str]]],
    total: float,
    ticks: Sequence[float],
    now: float | None = None,
    now_label: str = "",
    deps: Sequence[tuple[int, int]] = (),
) -> SafeString:
    """A timeline: per row its bars (start, end, state) from 0 to `total`; `deps` join rows, earlier → later.

    A row without bars is still to come. `now` draws the now line.
    """
    px, h = 100 / (total or 1), ROW * len(rows)
    out = [
        '<defs><marker id="gt-arrow" viewBox="0 0 6 6" refX="3" refY="5" markerWidth="6" markerHeight="6">'
        '<path class="gt-head" d="M0.6 1.6 3 5 5.4 1.6"/></marker></defs>'
    ]
    out += [hline("gt-row", k * ROW + 0.5) for k in range(len(rows))]
    out += [vline("gt-grid", t * px, 0, h) for t in ticks]
    for a, b in deps:
        if rows[a] and rows[b]:
            x1 = rows[a][-1][1] * px
            x2 = max(rows[b][0][0] * px + 0.5, x1)
            y1, y2 = a * ROW + ROW / 2, b * ROW + ROW / 2
            out.append(hline("gt-dep", y1, x1, x2))
            out.append(
                f'<line class="gt-dep" marker-end="url(#gt-arrow)" x1="{n(x2)}%" x2="{n(x2)}%" y1="{n(y1)}" '
                f'y2="{n(y2 - 9)}"/>'
            )
    for k, bars in enumerate(rows):
        y = k * ROW + ROW / 2 - 7
        out += [rect(f"gt-bar st-{st}", a * px, y, max((b - a) * px, 0.6), 14, 3.5) for a, b, st in bars]
    if now is not None:
        out.append(vline("gt-now", now * px, -4, h))
        out.append(text("gt-now-t", now * px, -9, now_label, "middle"))
    return mark_safe(svg("gantt__svg", h, out))


NODE_W, NODE_H, COL, ROW_H = 132, 44, 157, 56


def dag(nodes: Sequence[dict[str, Any]], edges: Sequence[tuple[str, str]], glyph: Callable[[str], str]) -> SafeString:
    """Steps and their order. Nodes: dicts id, col, row, name, sub, state; edges: (from, to) by id."""
    pos = {d["id"]: (1 + d["col"] * COL, 4 + d["row"] * ROW_H) for d in nodes}
    width = max((x for x, _ in pos.values()), default=0) + NODE_W + 1
    height = max((y for _, y in pos.values()), default=0) + NODE_H + 4
    state = {d["id"]: d["state"] for d in nodes}
    out = [
        f'<svg class="dag" viewBox="0 0 {n(width)} {n(height)}" width="{n(width)}" height="{n(height)}" role="img" '
        'aria-label="Step graph; the same steps are listed below with their times">'
    ]
    for a, b in edges:
        done = " is-done" if state[a] == "completed" and state[b] != "pending" else ""
        out.append(f'<path class="dag-edge{done}" d="{_edge(pos[a], pos[b])}"/>')
    out += [_node(d, *pos[d["id"]], glyph) for d in nodes]
    return mark_safe("".join(out) + "</svg>")


def axis(ticks: Sequence[tuple[str, float]]) -> SafeString:
    """Labels over a timeline: (words, position in per cent)."""
    return mark_safe(svg("gantt__axis-svg", 24, [text("ch-tick", x, 15, words, "middle") for words, x in ticks]))


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Straight under its own row, turning in the last gap."""
    x1, y1 = start[0] + NODE_W, start[1] + NODE_H / 2
    x2, y2 = end[0], end[1] + NODE_H / 2
    if y1 == y2:
        return f"M{n(x1)} {n(y1)}H{n(x2)}"
    c = (COL - NODE_W) / 2
    mid = x2 - c
    return f"M{n(x1)} {n(y1)}H{n(mid - c)}C{n(mid)} {n(y1)} {n(mid)} {n(y2)} {n(x2)} {n(y2)}"


def _node(d: dict[str, Any], x: float, y: float, glyph: Callable[[str], str]) -> str:
    return (
        f'<g class="dag-node st-{d["state"]}" transform="translate({n(x)} {n(y)})"><title>{escape(d["title"])}</title>'
        f'<rect class="dag-box" x="0.5" y="0.5" width="{NODE_W - 1}" height="{NODE_H - 1}" rx="7"/>'
        f'<g transform="translate(9 {n(NODE_H / 2 - 8)})">{glyph(d["state"])}</g>'
        f'<text class="dag-name" x="32" y="19">{escape(d["name"])}</text>'
        f'<text class="dag-sub" x="32" y="33">{escape(d["sub"])}</text></g>'
    )


def chain(blocks: int, anchors: dict[int, str]) -> SafeString:
    """The newest events as links; `anchors` are labelled ones; the last one is the head."""
    out = [hline("cv-line", 16, 1, 99)]
    for k in range(blocks):
        x = 1.5 + 97 * k / max(blocks - 1, 1)
        if k in anchors:
            out.append(
                f'<svg x="{n(x)}%" y="7" overflow="visible"><g transform="translate(-9 0) scale(1.125)">'
                f'<path class="cv-hex" d="{HEX}"/><path class="cv-k" d="{TICK}"/></g></svg>'
            )
            out.append(text("ch-tick", x, 44, anchors[k], "middle"))
        else:
            out.append(
                f'<svg x="{n(x)}%" y="12" overflow="visible">'
                '<rect class="cv-b" x="-4" width="8" height="8" rx="2"/></svg>'
            )
    out.append('<circle class="cv-head" cx="98.5%" cy="16" r="8.5"/>')
    out.append(text("ch-tick ch-now", 100, 44, "head", "end"))
    return mark_safe(svg("chain__svg", 52, out, "The newest events of the chain"))

"""Tags that draw Interlock's vocabulary: states, risk, environments, people, the log, times.

Markup only; `integrity_badge` alone reads the database.
"""

import re
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import lucide
from django import template
from django.template import Context
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from audit.changes.masking import visible as visible_text
from audit.ui import charts, glyphs
from audit.verification.status import log_status
from audit.web import tenant_to_audit

register = template.Library()

HUES = 6
"""How many avatar colours base.css has."""
ENVIRONMENT_LOOK = {"dangerous": "prod", "guarded": "stage", "safe": "dev"}


@lru_cache(maxsize=512)
def _icon(name: str, size: int, cls: str) -> SafeString:
    svg = lucide._render_icon(name, size, aria_hidden="true")
    svg = re.sub(r'\sclass="[^"]*"', "", svg, count=1)
    return mark_safe(
        svg.replace("<svg", f'<svg class="i {cls}"', 1).replace('stroke-width="2"', 'stroke-width="1.75"', 1)
    )


@register.simple_tag
def icon(name: str, size: int = 16, cls: str = "") -> SafeString:
    """Inline a Lucide icon. Raises lucide.IconDoesNotExist: names are literals, and a test knows them all."""
    return _icon(name, int(size), cls)


@register.simple_tag
def glyph(state: str) -> SafeString:
    return glyphs.glyph(str(state))


@register.simple_tag
def mark(size: int = 24) -> SafeString:
    return glyphs.mark(size)


@register.simple_tag
def seal(digest: str, size: int = 32) -> SafeString:
    return glyphs.seal(digest, size)


@register.simple_tag
def state(name: str, label: str = "") -> SafeString:
    """A state as a pill: glyph and word."""
    name = str(name)
    word = label or glyphs.LABELS.get(name, name)
    return format_html('<span class="state state--{}">{}<span>{}</span></span>', name, glyphs.glyph(name), word)


@register.filter
def state_label(name: str) -> str:
    return glyphs.LABELS.get(str(name), str(name))


@register.filter
def visible(text: Any) -> str:
    """A text with its invisible and direction-changing characters shown, so that it cannot pose as another."""
    return visible_text(str(text or ""))


@register.filter
def prose(text: Any) -> SafeString:
    """A sentence with its `code` between backticks set as code."""
    parts = str(text or "").split("`")
    if len(parts) % 2 == 0:
        return format_html("{}", str(text))
    pieces = (format_html("<code>{}</code>", part) if n % 2 else part for n, part in enumerate(parts))
    return format_html_join("", "{}", ((piece,) for piece in pieces))


@register.simple_tag
def risk(score: int | None, tier: str = "", full: bool = False) -> SafeString:
    """Score and bars of the effective tier; nothing while there is no score."""
    if score is None:
        return mark_safe("")
    tier = tier or glyphs.tier_for(score)
    return format_html(
        '<span class="risk risk--{}" title="Blast radius {} of 100, {} tier">{}<b class="risk__n">{}</b>'
        '<span class="{}">{}</span></span>',
        tier,
        score,
        tier,
        glyphs.risk_bars(tier),
        score,
        "risk__t" if full else "vh",
        tier.capitalize(),
    )


@register.simple_tag
def tierbars(tier: str) -> SafeString:
    return glyphs.risk_bars(tier)


@register.simple_tag
def env(environment: Any, soft: bool = False) -> SafeString:
    """An environment's chip: filled when dangerous, outlined when guarded, plain when safe."""
    look = ENVIRONMENT_LOOK.get(environment.risk_class, "stage")
    title = f"{environment.name}, {environment.risk_class} environment"
    return format_html(
        '<span class="env env--{}{}" title="{}">{}</span>', look, " env--soft" if soft else "", title, environment.slug
    )


@register.simple_tag
def avatar(name: str, size: str = "", agent: bool = False) -> SafeString:
    """Initials on a colour that follows the name; an agent's is square."""
    initials = "".join(part[0] for part in name.split()[:2]).upper() or "?"
    classes = (
        f"av av--{zlib.crc32(name.encode()) % HUES}{f' av--{size}' if size else ''}{' av--agent' if agent else ''}"
    )
    return format_html(
        '<span class="{}" title="{}"><span aria-hidden="true">{}</span><span class="vh">{}</span></span>',
        classes,
        name,
        initials,
        name,
    )


@register.simple_tag
def slots(filled: Sequence[str], needed: int, you: bool = False) -> SafeString:
    """Required approvals: names of who filled them, how many there are, and whether the reader can fill one."""
    drawn = [avatar(name, "xs") for name in filled[:needed][:4]]
    for n in range(len(drawn), min(needed, 4)):
        yours = you and n == len(filled)
        drawn.append(mark_safe(f'<span class="slot{" slot--you" if yours else ""}"></span>'))
    return format_html(
        '<span class="slots"><span class="slots__row" aria-hidden="true">{}</span>'
        '<span class="slots__n">{}/{}<span class="vh"> approvals{}</span></span></span>',
        mark_safe("".join(drawn)),
        len(filled),
        needed,
        ", one is yours to give" if you else "",
    )


@register.simple_tag
def kbd(*keys: str) -> SafeString:
    return format_html_join("", "<kbd>{}</kbd>", ((key,) for key in keys))


@register.simple_tag
def bar(value: float, total: float, cls: str = "") -> SafeString:
    return charts.bar(value, total, cls)


@register.filter
def group4(digest: str) -> SafeString:
    """Hex digits in groups of four, so that two people can read them to one another."""
    return format_html_join(" ", "<span>{}</span>", ((digest[n : n + 4],) for n in range(0, len(digest), 4)))


@register.filter
def short(value: Any) -> str:
    """The last eight characters of an id: uuid7 ids share their beginnings."""
    return str(value).replace("-", "")[-8:]


@register.filter
def duration(seconds: float | timedelta | None) -> str:
    """`40 ms`, `4.1 s`, `41:52` below an hour, then `2 h 14 m`, then `3 d 4 h`."""
    if seconds is None:
        return ""
    s = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
    if s < 1:
        return f"{max(s, 0) * 1000:.0f} ms"
    if s < 10:
        return f"{max(s, 0):.1f} s"
    whole = int(s)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


@register.simple_tag
def when(at: datetime | None, seconds: bool = False) -> SafeString:
    """A time in UTC: the hour if it is today, else with the day; the full time as its title."""
    if at is None:
        return mark_safe("")
    at = at.astimezone(UTC)
    clock = f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}"
    words = clock if at.date() == timezone.now().date() else f"{at.day} {at:%b} {clock}"
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S} UTC", words)


@register.simple_tag
def countdown(until: datetime) -> SafeString:
    """Time left until a moment; app.js ticks it. The server decides expiry, this only shows it."""
    left = max((until - timezone.now()).total_seconds(), 0)
    words = duration(left) if left >= 10 else f"0:{int(left):02d}"
    return format_html(
        '<time data-until="{}" datetime="{}" title="{}">{}</time>',
        int(until.timestamp()),
        until.isoformat(),
        f"{until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        words,
    )


@register.simple_tag
def countup(since: datetime) -> SafeString:
    """Time gone since a moment; app.js ticks it."""
    gone = max((timezone.now() - since).total_seconds(), 0)
    return format_html('<time data-since="{}">{}</time>', int(since.timestamp()), duration(max(gone, 10)))


@register.simple_tag
def server_now() -> int:
    """The server's clock in epoch seconds, so that countdowns do not trust the browser's."""
    return int(timezone.now().timestamp())


@register.simple_tag(takes_context=True)
def theme(context: Context) -> SafeString:
    """The person's theme from their cookie, as an attribute of <html>; nothing follows the system."""
    chosen = context["request"].COOKIES.get("il-theme", "") if "request" in context else ""
    return mark_safe(f' data-theme="{chosen}"') if chosen in ("light", "dark") else mark_safe("")


@register.inclusion_tag("audit/_integrity.html", takes_context=True)
def integrity_badge(context: Context) -> dict[str, Any]:
    """State of the tenant's log: signed up to where, verified when, broken where. On every auditor's page."""
    return {"log_status": log_status(tenant_to_audit(context["request"]))}


@register.filter
def cell(value: Any) -> str:
    """A report's value as text in a table."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return "; ".join(cell(item) for item in value)
    return str(value)

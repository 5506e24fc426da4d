"""Reports as files: CSV that no spreadsheet takes for formulas, JSON lines, and PDF/A with the lines attached."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from audit.auditor.reports.registry import Report, Row
from audit.ui.typesetting import Prepared, printable, render_pdf

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "pdf": "application/pdf"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection), in full width too."""
MAX_PRINTED_ROWS = 1_000
BREAK = "\u200b"
LONG, JOINED = re.compile(r"[0-9A-Za-z]{12,}"), re.compile(r"\S{20,}")
MAX_ATTACHED_BYTES = 8 * 1024 * 1024


@dataclass
class ReportHeader:
    """What a report says about itself: (what, words) in order, and when it was made."""

    facts: list[tuple[str, str]]
    at: datetime


@dataclass
class RowCount:
    """How much went into a file, known once it is written. `is_whole`: nothing was left out."""

    looked_at: int = 0
    rows: int = 0
    is_whole: bool = True
    printed: list[Row] = field(default_factory=list)

    def words(self, report: Report) -> str:
        rows = "nothing" if not self.rows else f"{self.rows} row{'' if self.rows == 1 else 's'}"
        words = f"{rows} found in {self.looked_at} {report.looked_at} looked at"
        return words if self.is_whole else f"{words}; it stops here, ask for a shorter period"


def render_csv(report: Report, head: ReportHeader, rows: Iterable[Row], count: RowCount) -> Iterator[bytes]:
    """Lines that begin with # say what this is; then the names of the columns, the rows, and how many there were."""
    for name, words in head.facts:
        yield _line([f"# {name}", words])
    yield _line([column.title for column in report.columns])
    for row in rows:
        yield _line([row.get(column.name) for column in report.columns])
    yield _line(["# end", count.words(report)])


def render_jsonl(report: Report, head: ReportHeader, rows: Iterable[Row], count: RowCount) -> Iterator[bytes]:
    """A line about the report, one for each row, one about the end: without it, the file was cut off."""
    columns = [column.name for column in report.columns]
    yield _json({"report": report.kind, "format": "interlock.report/1", "columns": columns, **dict(head.facts)})
    for row in rows:
        yield _json({name: row.get(name) for name in columns})
    yield _json({"end": True, "rows": count.rows, "looked_at": count.looked_at, "is_whole": count.is_whole})


def render_pdf_report(report: Report, head: ReportHeader, rows: Iterable[Row], count: RowCount) -> bytes:
    """The first thousand rows set on paper; all of them attached as JSON lines, while they stay below 8 MiB."""
    printed: list[Row] = []

    def kept() -> Iterator[Row]:
        for row in rows:
            if len(printed) < MAX_PRINTED_ROWS:
                printed.append(row)
            yield row

    lines, size = [], 0
    for line in render_jsonl(report, head, kept(), count):
        size += len(line)
        if size <= MAX_ATTACHED_BYTES:
            lines.append(line)
    whole = size <= MAX_ATTACHED_BYTES
    attached = [(f"{report.kind}.jsonl", b"".join(lines), "application/x-ndjson")] if whole else []
    data = {
        "landscape": True,
        "title": report.title,
        "question": report.question,
        "facts": head.facts,
        "found": count.words(report),
        "shows": report.shows,
        "shows_not": report.shows_not,
        "controls": list(report.controls),
        "columns": [{"title": column.title, "share": column.share} for column in report.columns],
        "rows": [[_breakable(_text(row.get(column.name))) for column in report.columns] for row in printed],
        "more": count.rows - len(printed),
        "is_attached": whole,
    }
    return render_pdf("listing", data, attached, f"{report.title}", head.at)


def _line(cells: Sequence[Any]) -> bytes:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow([_cell(value) for value in cells])
    return out.getvalue().encode()


def _cell(value: Any) -> str | int | float:
    """A number stays one; a text that could be a formula gets an apostrophe before it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = _text(value).replace("\x00", "")
    return f"'{text}" if text.lstrip(" \n\ufeff").startswith(FORMULA) else text


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return "; ".join(_text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _breakable(text: str) -> Prepared:
    """The text, printable, with places at which a narrow column may break it: after joints, and in what has none."""
    safe = JOINED.sub(lambda match: match[0].replace("-", "-" + BREAK), printable(text, words=False))
    parts = LONG.sub(lambda match: BREAK.join(match[0][n : n + 8] for n in range(0, len(match[0]), 8)), safe)
    return Prepared(parts.translate({ord(joint): joint + BREAK for joint in "_/"}))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=_plain, sort_keys=False).encode() + b"\n"


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)

"""Reports as files: nothing a spreadsheet would run, nothing cut off unnoticed, the same bytes from the same rows."""

import csv
import io
import json
from datetime import UTC, datetime

import pikepdf
import pytest

from audit.auditor.reports.registry import Column, Report
from audit.auditor.reports.worker import ReportHeader, RowCount, render_csv, render_jsonl, render_pdf_report

AT = datetime(2026, 10, 1, 8, tzinfo=UTC)
HEAD = ReportHeader([("report", "Things"), ("requested by", "=cmd|' /C calc'!A0")], AT)
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "\n=1", "\ufeff=1", 'say "hi", bye', "a\nb"]


def a_report(rows=()):
    return Report(
        kind="things",
        title="Things",
        question="Which things?",
        columns=(Column("name", "Name"), Column("n", "N")),
        rows=lambda wanted: iter(rows),
        looked_at="things",
        shows="Things.",
        shows_not="Others.",
        controls=("CC8.1",),
    )


def counted(rows):
    return RowCount(looked_at=len(rows), rows=len(rows))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula(text):
    rows = [{"name": text, "n": -5}]
    data = b"".join(render_csv(a_report(), HEAD, rows, counted(rows))).decode()
    read = list(csv.reader(io.StringIO(data, newline="")))
    for cell in [cell for line in read for cell in line if not cell.lstrip("-").isdigit()]:
        assert not cell.lstrip(" \t\r\n\ufeff").startswith(("=", "+", "-", "@", "＝", "＋")), read
    assert read[3][1] == "-5", "a number stays a number"
    assert read[-1] == ["# end", "1 row found in 1 things examined"]


def test_lines_of_json_say_what_they_are_and_where_they_end():
    rows = [{"name": "é\u202e", "n": 1}, {"name": ["a", "b"], "n": None}]
    lines = [json.loads(line) for line in b"".join(render_jsonl(a_report(), HEAD, rows, counted(rows))).splitlines()]
    assert lines[0]["format"] == "interlock.report/1" and lines[0]["requested by"].startswith("=cmd")
    assert lines[1:3] == [{"name": "é\u202e", "n": 1}, {"name": ["a", "b"], "n": None}]
    assert lines[3] == {"end": True, "rows": 2, "looked_at": 2, "is_whole": True}


def test_a_pdf_is_tagged_carries_its_lines_and_is_the_same_each_time():
    rows = [{"name": f"thing {n} #strong[x] \u202e ⟦secret:ab12⟧", "n": n} for n in range(40)]
    made = [render_pdf_report(a_report(), HEAD, iter(rows), counted(rows)) for _ in range(2)]
    assert made[0] == made[1]
    with pikepdf.open(io.BytesIO(made[0])) as paper:
        assert "/StructTreeRoot" in paper.Root and len(paper.pages) > 1
        attached = paper.attachments["things.jsonl"].get_file().read_bytes()
    assert json.loads(attached.splitlines()[-1])["rows"] == 40


def test_an_empty_report_says_what_was_looked_at():
    count = RowCount(looked_at=12)
    data = b"".join(render_csv(a_report(), HEAD, [], count)).decode()
    assert "nothing found in 12 things examined" in data
    assert render_pdf_report(a_report(), HEAD, [], count).startswith(b"%PDF")


def test_a_large_one_is_printed_in_part_and_says_so(monkeypatch):
    monkeypatch.setattr("audit.auditor.reports.worker.MAX_PRINTED_ROWS", 3)
    monkeypatch.setattr("audit.auditor.reports.worker.MAX_ATTACHED_BYTES", 100)
    rows = [{"name": f"thing {n}", "n": n} for n in range(9)]
    with pikepdf.open(io.BytesIO(render_pdf_report(a_report(), HEAD, rows, counted(rows)))) as paper:
        assert not list(paper.attachments)

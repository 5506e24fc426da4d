"""Papers: PDF/A-3a, tagged, the same bytes every time, hostile text harmless, attachments read back."""

from datetime import UTC, datetime
from io import BytesIO

import pikepdf
import pypdfium2
import pytest

from audit.ui import typesetting
from audit.ui.typesetting import TypesettingFailed, printable, render_pdf

AT = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
HOSTILE = '#panic("no") $x$ *b* @foo <b> `c` \\u{1} // /* \u202e\x1b[2J\x00 中文 😀 ⟦secret:7c1e0a12⟧ ' + "f" * 64
DATA = {
    "heading": HOSTILE,
    "lead": HOSTILE,
    "sections": [{"title": HOSTILE, "head": ["a", HOSTILE], "rows": [[HOSTILE, "b"]] * 3}],
}
FILES = [("events.jsonl", b'{"n":1}\n', "application/x-ndjson"), ("any.bin", bytes(range(256)), "image/x; q=1")]


@pytest.fixture(scope="module")
def paper():
    return render_pdf("plain", DATA, FILES, HOSTILE, AT)


def test_it_is_tagged_pdf_a_and_dated_as_asked(paper):
    with pikepdf.open(BytesIO(paper)) as read, read.open_metadata() as about:
        assert (about["pdfaid:part"], about["pdfaid:conformance"]) == ("3", "A")
        assert about["xmp:CreateDate"].startswith("2026-02-03T04:05:06")
        assert bool(read.Root.MarkInfo.Marked) and "/StructTreeRoot" in read.Root and str(read.Root.Lang) == "en"


def test_attachments_come_back_byte_for_byte(paper):
    with pikepdf.open(BytesIO(paper)) as read:
        assert {n: spec.get_file().read_bytes() for n, spec in read.attachments.items()} == {n: b for n, b, _ in FILES}
        assert str(read.attachments["any.bin"].obj.AFRelationship) == "/Source"


def test_text_is_text_whatever_it_says(paper):
    read = pypdfium2.PdfDocument(paper)
    text = read[0].get_textpage().get_text_bounded()
    for part in ('#panic("no")', "$x$", "*b*", "<b>", "‹U+202E›", "‹U+001B›[2J", "‹U+4E2D›", "‹secret 7c1e0a12›"):
        assert part in text.replace("\u200b", "").replace("\r\n", " "), part


def test_the_same_arguments_give_the_same_bytes(paper):
    assert render_pdf("plain", DATA, FILES, HOSTILE, AT) == paper


def test_only_our_templates_are_set():
    for name in ("../plain", "plain.typ", "", "house/../plain"):
        with pytest.raises(ValueError, match="template"):
            render_pdf(name, {}, [], "", AT)


def test_printable_text_keeps_what_our_fonts_know():
    assert printable("Zoë → Ж α ≤\n\tx") == "Zoë → Ж α ≤\n    x"
    assert printable("\r\n") == "\n" and printable("\u200b") == "‹U+200B›"


def test_a_long_paper_is_set_apart_and_comes_out_the_same(paper, monkeypatch):
    monkeypatch.setattr(typesetting, "SMALL_CHARS", 0)
    assert render_pdf("plain", DATA, FILES, HOSTILE, AT) == paper
    monkeypatch.setattr(typesetting, "MAIN", "#panic()")
    with pytest.raises(TypesettingFailed, match="panic"):
        render_pdf("plain", DATA, FILES, HOSTILE, AT)

"""render(): every changed line, no hostile byte, and small enough for a page."""

import html
import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.changes.document import Change
from audit.changes.render import render_change

PAYLOADS = [
    "<script>alert(1)</script>",
    "</code></td><img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "'\"><svg onload=alert(1)>",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "abc\u202egnp.exe",
    "\u2066x\u2069",
    "zero\u200bwidth",
    "a\rb",
    "\ufeffbom",
    "\x00nul",
    "\x9b31m",
    "soft\xadhyphen",
    "tag\U000e0041",
    "\u2028sep",
    "form\x0cfeed",
]
ALLOWED_TAGS = {"table", "colgroup", "col", "tbody", "tr", "td", "code", "span", "mark", "button", "svg", "path"}


def a_change(before, after, target="conf/app.yaml"):
    return Change("k", target, "file", "modify", before, after)


class Reader(HTMLParser):
    """The text of the code cells, and every tag and attribute."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.cells, self.tags, self.attributes, self.classes, self.inside = [], set(), set(), [], False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.inside = self.inside or tag == "code"
        if tag == "code":
            self.cells.append("")
        if tag == "tr":
            self.classes.append(dict(attrs).get("class", ""))

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "code"

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def read(change, view="unified", context=3):
    reader = Reader()
    reader.feed(render_change(change, view, context))
    return reader


@pytest.mark.parametrize("view", ["unified", "split"])
@pytest.mark.parametrize("target", ["a.html", "a.yaml", "a.unknown", "a.py", "a.md", "a.json"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_leaves_as_harmless_text(payload, target, view):
    page = render_change(a_change(f"x: {payload}\nsame\n", f"y: {payload}{payload}\nsame\n", target), view)
    reader = read(a_change(f"x: {payload}\n", f"y: {payload}\n", target), view)
    assert reader.tags <= ALLOWED_TAGS
    assert not any(name.startswith("on") or name in {"style", "src", "href"} for name in reader.attributes)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]", page)
    visible = "".join(reader.cells)
    assert payload in visible or re.search(r"U\+|[\u2400-\u2426]", visible)


@given(st.text(), st.text())
def test_any_text_is_shown_without_markup_of_its_own(before, after):
    for target in ("a.py", "a.yaml", "a.txt"):
        assert read(a_change(before, after, target), "split").tags <= ALLOWED_TAGS


def test_both_views_number_the_lines_and_mark_the_changed_words():
    change = a_change("one\nreplicas: 3\nend\n", "one\nreplicas: 5\nend\nnew\n")
    unified, split = render_change(change, "unified"), render_change(change, "split")
    assert '<tr class="is-del"><td class="d-num d-del" data-n="2">' in unified
    assert '<td class="d-num d-add"></td><td class="d-num d-add" data-n="4">' in unified
    assert "<mark><span" in unified and unified.count("<mark>") == split.count("<mark>") == 2
    assert split.count('class="d-num d-void"') == 1
    assert read(change).cells == ["one", "replicas: 3", "replicas: 5", "end", "new"]


def test_the_same_text_read_back_from_the_page_is_the_text_that_was_given():
    text = 'def f(a):\n\treturn "é" + a  # <note>\n\n\nclass X: pass\n'
    assert read(a_change(None, text, "a.py")).cells == [line or "\u200b" for line in text.split("\n")[:-1]]


def test_a_mask_shows_its_fingerprint_whatever_the_lexer_makes_of_it():
    for target in ("a.yaml", "a.py", "a.env", "a.sh", "a.unknown", "a.json"):
        page = render_change(a_change("k = ⟦secret:0a1b2c3d⟧ x\n", "k = ⟦secret:ffffffff⟧ x\n", target), "unified")
        assert '<span class="mask__fp">0a1b2c3d</span>' in page and '<span class="mask__fp">ffffffff</span>' in page
        assert "⟦" not in page


def test_unchanged_lines_fold_around_the_context():
    lines = [f"l{n}" for n in range(40)]
    page = render_change(a_change("\n".join(lines), "\n".join([*lines[:20], "X", *lines[21:]])), "unified", 3)
    assert page.count('class="d-folded" hidden') == 2 and "17 unchanged lines" in page and "16 unchanged lines" in page
    assert [html.unescape(c) for c in read(a_change("a\nb\n", "a\nc\n")).cells] == ["a", "b", "c"]


def test_a_missing_newline_at_the_end_is_a_visible_change():
    assert render_change(a_change("a\n", "a"), "unified").count('title="No newline at end of file"') == 1


def test_a_change_of_line_endings_is_visible():
    assert read(a_change("a\r\n", "a\n")).cells == ["a␍", "a"]


def test_five_thousand_changed_lines_take_a_moment_and_all_are_shown():
    old = "".join(f"key{n}: value {n}\n" for n in range(5000))
    started = time.process_time()
    reader = read(a_change(old, old.replace("value", "other")))
    assert time.process_time() - started < 5
    assert reader.classes.count("is-del") == reader.classes.count("is-add") == 5000


def test_a_large_file_with_a_small_change_is_a_small_page():
    old = "".join(f"key{n}: value {n}\n" for n in range(5000))
    page = render_change(a_change(old, old.replace("value 700\n", "other\n")), "split")
    assert len(page) < 10_000 and "unchanged lines" in page


def test_beyond_the_limit_the_page_says_what_it_leaves_out():
    page = render_change(a_change(None, "x\n" * 20_000, "a.txt"), "unified")
    assert "8000 added and 0 deleted lines are not shown here" in page


def test_no_change_renders_an_empty_table_and_equal_text_a_fold():
    assert read(a_change(None, None)).cells == []
    assert "3 unchanged lines" in render_change(a_change("a\nb\nc\n", "a\nb\nc\n"), "split", 0)

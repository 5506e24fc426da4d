"""words(): marks point at what changed within a line."""

from hypothesis import given
from hypothesis import strategies as st

from audit.changes.render import highlight, line_html, mark_changed_words

texts = st.text("ab ⟦x.", max_size=40)


@given(texts, texts)
def test_outside_the_marks_two_lines_are_equal(old, new):
    marks = mark_changed_words(old, new)
    if marks == ((), ()):
        return
    assert _without(old, marks[0]) == _without(new, marks[1])


def _without(text, ranges):
    return "".join(c for n, c in enumerate(text) if not any(left <= n < right for left, right in ranges))


def test_lines_with_little_in_common_get_no_marks():
    assert mark_changed_words("alpha beta", "gamma: [1, 2]") == ((), ())


def test_very_long_lines_get_no_marks():
    assert mark_changed_words("a b " * 5000, "a c " * 5000) == ((), ())


def test_marks_cut_through_tokens():
    assert line_html([("str", "abc"), ("", "def")], [(1, 4)]) == (
        '<span class="c-str">a</span><mark><span class="c-str">bc</span></mark><mark>d</mark>ef'
    )


def test_very_large_texts_are_not_lexed():
    assert highlight("a: 1\n" * 50_000, "a.yaml")[0] == [("", "a: 1")]
    assert highlight("a: 1\n", "a.yaml")[0][0] == ("key", "a")

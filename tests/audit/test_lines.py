"""compare(): a valid edit script always, a small one usually, in bounded time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.changes import document
from audit.changes.document import compare_lines, group_hunks, split_lines

few = st.lists(st.sampled_from("abcdefgh"), max_size=30)
N = 5000
HOSTILE = {
    "every other line": ([f"l{i}" for i in range(N)], [f"l{i}" if i % 2 else f"m{i}" for i in range(N)]),
    "one line throughout": (["x"] * N, ["x"] * (N - 7)),
    "popular lines between": (
        ["x" if i % 2 else f"u{i}" for i in range(N)],
        ["x" if i % 2 else f"v{i}" for i in range(N)],
    ),
    "nothing in common": ([f"a{i}" for i in range(N)], [f"b{i}" for i in range(N)]),
    "reversed": ([f"a{i}" for i in range(N)], [f"a{i}" for i in reversed(range(N))]),
    "few words": ([str(i * i % 7) for i in range(N)], [str(i * i * i % 11) for i in range(N)]),
    "every line twice": ([str(i // 2) for i in range(N)], [str(i // 2) for i in range(N) if i % 9]),
    "palindromes": ([str(abs(i - 2500)) for i in range(N)], [str(abs(i - 2400)) for i in range(N)]),
}


def assert_valid(old, new, opcodes):
    i = j = 0
    for tag, i1, i2, j1, j2 in opcodes:
        assert (i1, j1) == (i, j)
        assert {
            "equal": i1 < i2 and old[i1:i2] == new[j1:j2],
            "replace": i1 < i2 and j1 < j2,
            "delete": i1 < i2 and j1 == j2,
            "insert": i1 == i2 and j1 < j2,
        }[tag]
        i, j = i2, j2
    assert (i, j) == (len(old), len(new))


@given(few, few)
def test_the_opcodes_turn_old_into_new(old, new):
    assert_valid(old, new, compare_lines(old, new))


@given(few, few)
def test_the_coarse_match_is_valid_too(old, new):
    matcher = document._Matcher(old, new)
    matcher.left = 0
    assert_valid(old, new, list(document._opcodes(matcher.pairs(), len(old), len(new))))


@pytest.mark.parametrize("case", HOSTILE)
def test_five_thousand_hostile_lines_take_well_under_a_second(case):
    old, new = HOSTILE[case]
    started = time.process_time()
    opcodes = compare_lines(old, new)
    assert time.process_time() - started < 1.5
    assert_valid(old, new, opcodes)


def test_lines_that_occur_twice_are_still_matched_in_a_large_file():
    old, new = HOSTILE["every line twice"]
    kept = sum(i2 - i1 for tag, i1, i2, _, _ in compare_lines(old, new) if tag == "equal")
    assert kept > 0.7 * len(new)


@given(st.text("ab\n\r\u2028\x0b"))
def test_only_a_newline_ends_a_line_and_nothing_is_lost(text):
    found = split_lines(text)
    assert "".join(found) == text
    assert len(found) == text.count("\n") + (not text.endswith("\n") and text != "")


@given(few, few, st.integers(0, 3))
def test_hunks_hold_every_change_once_with_bounded_context(old, new, context):
    opcodes = compare_lines(old, new)
    grouped = [opcode for hunk in group_hunks(opcodes, context) for opcode in hunk]
    assert [o for o in grouped if o[0] != "equal"] == [o for o in opcodes if o[0] != "equal"]
    assert all(i2 - i1 <= 2 * context for tag, i1, i2, _, _ in grouped if tag == "equal")
    assert all(hunk[0][1] < hunk[-1][2] or hunk[0][3] < hunk[-1][4] for hunk in group_hunks(opcodes, context))


def test_equal_texts_have_no_hunks():
    assert list(group_hunks(compare_lines(["a"], ["a"]), 3)) == list(group_hunks(compare_lines([], []), 3)) == []

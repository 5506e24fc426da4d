"""The change document and its plain-text diff."""

import pytest

from audit.changes.document import Change, NotAChangeDocument, parse_changes, serialize_changes, text_diff
from audit.log.canonical_json import canonical


def a_change(before, after, **rest):
    operation = "create" if before is None else "delete" if after is None else "modify"
    return Change("k", "conf/app.yaml", "file", operation, before, after, **rest)


def test_a_document_survives_the_way_through_storage():
    changes = [
        a_change("a\nb\n", "a\nc\nd\n", before_mode="0644", language="yaml"),
        a_change(None, "é⟦secret:0a1b2c3d⟧"),
    ]
    assert parse_changes(canonical(serialize_changes(changes))) == changes


def test_added_and_deleted_lines_are_counted():
    change = a_change("a\nb\n", "a\nc\nd\n")
    assert (change.adds, change.dels) == (2, 1)
    assert (a_change(None, "x\ny").adds, a_change("x\ny", None).dels) == (2, 2)
    assert (a_change("a", "a\n").adds, a_change("a", "a\n").dels) == (1, 1)


def test_counts_that_are_given_are_kept():
    assert a_change("a", "b", adds=0, dels=0).adds == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"format":"interlock.changes/2","changes":[]}',
        b'{"format":"interlock.changes/1"}',
        b'{"format":"interlock.changes/1","changes":[{}]}',
        b'{"format":"interlock.changes/1","changes":[1]}',
        b"\xff",
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(NotAChangeDocument):
        parse_changes(data)


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="operation"):
        Change("k", "t", "file", "rename")


def test_a_modification_reads_as_a_unified_diff():
    change = a_change(
        "1\n2\n3\n4\n5\n6\n7\n8\n9\nten", "1\n2\n3\n4\nV\n6\n7\n8\n9\nten\n", before_mode="0644", after_mode="0755"
    )
    assert text_diff(change, context=1) == (
        "old mode 0644\nnew mode 0755\n--- a/conf/app.yaml\n+++ b/conf/app.yaml\n"
        "@@ -4,3 +4,3 @@\n 4\n-5\n+V\n 6\n"
        "@@ -9,2 +9,2 @@\n 9\n-ten\n\\ No newline at end of file\n+ten\n"
    )


def test_creation_and_deletion_name_dev_null():
    assert text_diff(a_change(None, "a\n")) == "--- /dev/null\n+++ b/conf/app.yaml\n@@ -0,0 +1 @@\n+a\n"
    assert text_diff(a_change("a\n", None)) == "--- a/conf/app.yaml\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"


def test_no_change_is_no_text():
    assert text_diff(a_change("a\n", "a\n")) == ""


def test_hostile_characters_are_visible_in_text_and_name():
    change = a_change("", "\x1b[2Jok\u202etxt\u200b\x07\n")
    change.target = "a\nb\u202e.txt"
    diff = text_diff(change)
    assert "+␛[2JokU+202EtxtU+200B␇\n" in diff and "+++ b/a␊bU+202E.txt\n" in diff
    assert not set(diff) & set("\x1b\u202e\u200b\x07")

"""Signed notes: those of the Go checksum database verify here, and ours are built alike."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.verify.signatures import (
    InvalidNote,
    TreeHead,
    Verifier,
    parse_note,
    parse_tree_head,
    parse_vkey,
    sign_text,
    verify_note,
)

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""From the documentation of golang.org/x/mod/sumdb/note (BSD-3)."""


def test_the_note_of_the_go_documentation_is_read_and_made():
    peter = parse_vkey(PETER)
    assert peter.vkey == PETER and verify_note(NOTE, [peter]) == (TEXT, [peter])
    secret = Ed25519PrivateKey.from_private_bytes(base64.b64decode(SECRET.split("+", 4)[4])[1:])
    assert sign_text(TEXT, peter.name, peter.key_id, secret.sign) == NOTE


@pytest.mark.parametrize("change", [("problem,", "problem."), ("x08go/ZJ", "x08go/ZK"), ("c74f", "c74f")])
def test_another_text_or_signature_is_refused(change):
    changed = NOTE.replace(*change)
    if changed != NOTE:
        with pytest.raises(InvalidNote, match="not of this text"):
            verify_note(changed, [parse_vkey(PETER)])


def test_signatures_by_others_are_passed_over_but_one_must_be_known():
    other = Verifier("else", parse_vkey(PETER).public)
    both = NOTE + "— else " + base64.b64encode(other.key_id + b"x" * 64).decode() + "\n"
    assert verify_note(both, [parse_vkey(PETER)])[1] == [parse_vkey(PETER)]
    with pytest.raises(InvalidNote, match="not of this text"):
        verify_note(both, [parse_vkey(PETER), other])
    with pytest.raises(InvalidNote, match="known here"):
        verify_note(NOTE, [])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "a\n",
        "a\n\n",
        "a\n\n— x\n",
        "a\n\n— x AAAA\n",
        "a\r\n\n— x AAAAAAAA\n",
        "a\n\n— x AAAAAAAA",
        "x" * 70_000,
        "a\n\n" + "— x AAAAAAAA\n" * 20,
        "\ud800\n\n— x AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused(note):
    with pytest.raises(InvalidNote):
        parse_note(note)


def test_a_checkpoint_says_origin_size_and_root():
    said = TreeHead("interlock/acme", 17, b"r" * 32, ("number 3", "at noon"))
    assert parse_tree_head(said.text()) == said
    assert (said.extension("number"), said.extension("at"), said.extension("else")) == ("3", "noon", "")
    lines = said.text().split("\n")
    assert lines[:3] == ["interlock/acme", "17", base64.b64encode(b"r" * 32).decode()]


@pytest.mark.parametrize("text", ["o\n017\nAA==\n", "o\n1\n", "o\n1\nAA==\n", "o\n-1\n" + "A" * 43 + "=\n", "o\n1\n\n"])
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(InvalidNote):
        parse_tree_head(text)


@pytest.mark.parametrize("vkey", ["", "x", PETER[:-4], PETER.replace("c74f", "c74e"), PETER.replace("Peter", "Paul")])
def test_what_is_no_key_is_refused(vkey):
    with pytest.raises(ValueError, match="key"):
        parse_vkey(vkey)

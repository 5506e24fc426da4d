"""The public verification page: a stranger learns whether what they hold is genuine, and nothing else."""

import io

import pytest
from django.test import Client

from audit.evidence.pack import build_pack
from audit.log.events import record
from audit.models import Event
from audit.models.seals import PublicCheck
from audit.seals import keys
from audit.seals.sealer import seal_all
from audit.seals.tree import newest_head
from audit.verification import pages
from tests.audit.cast import TENANT, a_subject, an_entry
from tests.audit.seals.tampering import a_log, cut_back, harmed

pytestmark = pytest.mark.django_db
PAGE = "/verify/"


def ask(**sent):
    answer = Client().post(PAGE, sent)
    return answer.status_code, answer.content.decode()


def a_pack(log):
    file = io.BytesIO(b"".join(build_pack(TENANT, log.subjects[0])))
    file.name = "evidence.zip"
    return file


def test_a_stranger_gets_the_form():
    answer = Client().get(PAGE)
    assert answer.status_code == 200 and "no-cache" in answer["Cache-Control"]
    assert ask()[0] == 422 and "Choose an evidence pack" in ask()[1]


def test_a_genuine_head_is_told_so_and_a_rewritten_log_too():
    a_log()
    kept = newest_head(TENANT).note
    assert "still begins with exactly the entries" in ask(head=kept)[1]
    assert "still begins with exactly the entries" in ask(head=kept.replace("\n", "\r\n"))[1], "as forms send it"
    with harmed():
        cut_back(2)
        assert "The log was changed since" in ask(head=kept)[1]
        for _ in range(40):
            record(an_entry(a_subject()))
        seal_all()
        assert "The log was rewritten" in ask(head=kept)[1]


@pytest.mark.parametrize("head", ["hello", "interlock/x\n1\nAA==\n\n— x AAAAAAAA\n", "\x01"])
def test_what_was_not_signed_here_says_nothing_about_any_log(head):
    a_log(1, 2)
    assert "not signed by this installation" in ask(head=head)[1]
    forged = newest_head(TENANT).note.replace("\n4\n", "\n3\n").replace("\n3\n", "\n2\n")
    assert "not signed by this installation" in ask(head=forged)[1]


def test_a_pack_is_explained_in_words():
    log = a_log()
    status, text = ask(pack=a_pack(log))
    assert status == 200 and ("Genuine and intact" in text or "Intact" in text)
    data = bytearray(a_pack(log).read())
    data[len(data) // 2] ^= 1
    changed = io.BytesIO(data)
    changed.name = "evidence.zip"
    assert "Do not rely on this" in ask(pack=changed)[1]
    other = io.BytesIO(b"hello")
    other.name = "evidence.zip"
    assert "Do not rely on this" in ask(pack=other)[1]


def test_too_many_checks_are_refused_for_a_minute(monkeypatch):
    monkeypatch.setattr(pages, "MAX_PER_ADDRESS", 3)
    assert [ask(head="x")[0] for _ in range(5)] == [200, 200, 200, 429, 429]
    assert "Wait a minute" in ask(head="x")[1]
    PublicCheck.objects.update(minute=0)
    assert ask(head="x")[0] == 200
    assert not Event.objects.exists() and keys.public_keys(TENANT) == []

"""Heads are sent elsewhere: to a file, a web address, by mail; retried, not too often, and told about."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from audit.database import clock
from audit.database.clock import uuid7
from audit.errors import Conflict, Invalid, NotFound
from audit.log.events import record
from audit.models import Event
from audit.models.seals import HeadTarget, SignedTreeHead
from audit.outgoing.webhook import DeliveryFailed
from audit.seals import keys, publish_heads
from audit.seals.publish_heads import add_target, publish_due, remove_target
from audit.seals.sealer import seal_all
from audit.seals.tree import newest_head
from audit.verification.log import read_external_heads
from tests.audit.cast import TENANT, a_subject, an_entry
from tests.audit.seals.tampering import a_log, cut_back, harmed

pytestmark = pytest.mark.django_db
NOTHING = 0


@pytest.fixture(autouse=True)
def _here(settings, tmp_path):
    settings.INTERLOCK = settings.INTERLOCK.model_copy(update={"heads_dir": tmp_path / "heads"})


def something():
    record(an_entry(a_subject()))
    seal_all()


def pass_time():
    HeadTarget.objects.update(next_at=clock.database_time() - timedelta(seconds=1))


def test_a_file_collects_heads_that_the_log_can_be_held_against():
    add_target(TENANT, "file", "", 60, "someone")
    assert publish_due() == NOTHING, "there is no head yet"
    something()
    assert (publish_due(), publish_due()) == (1, NOTHING), "not before its turn"
    pass_time()
    something()
    assert publish_due() == 1
    pass_time()
    assert publish_due() == NOTHING, "it has the newest"
    kept = read_external_heads(publish_heads.target_file(TENANT).read_text())
    assert len(kept) >= 2 and kept[-1].head.size <= newest_head(TENANT).size
    assert publish_heads.target_file(TENANT).stat().st_mode & 0o777 == 0o600
    target = HeadTarget.objects.get()
    assert target.published_at and (target.failures, target.fault) == (0, "")


def test_nothing_is_sent_twice():
    something()
    add_target(TENANT, "file", "", 60, "someone")
    something()
    assert publish_due() == 1
    pass_time()
    assert publish_due() == NOTHING


def test_what_was_not_taken_is_tried_again_and_told_once(monkeypatch):
    answers, sent = [DeliveryFailed("it answered 503"), DeliveryFailed("it answered 503"), None], []

    def answer(url, body, headers, allow_private):
        sent.append((url, body, allow_private))
        if (error := answers.pop(0)) is not None:
            raise error

    monkeypatch.setattr(publish_heads, "post", answer)
    add_target(TENANT, "http", "https://witness.example/heads", 60, "someone")
    something()
    for _ in range(3):
        publish_due()
        pass_time()
    assert [url for url, *_ in sent] == ["https://witness.example/heads"] * 3 and not sent[0][2]
    verbs = Event.objects.filter(subject_kind="head_target").order_by("seq").values_list("verb", flat=True)
    assert list(verbs) == ["head_target.added", "head_target.failing", "head_target.restored"]
    assert "witness" not in str([bytes(e.body) for e in Event.objects.filter(subject_kind="head_target")])


def test_a_web_address_inside_is_refused_before_anything_is_sent():
    add_target(TENANT, "http", "http://127.0.0.1:9/heads", 60, "someone")
    something()
    publish_due()
    target = HeadTarget.objects.get()
    assert target.failures == 1 and "private" in target.fault and not target.published_at


def test_a_mail_holds_the_whole_head(mailoutbox):
    add_target(TENANT, "email", "auditor@example.org", 86_400, "someone")
    something()
    assert publish_due() == 1
    (mail,) = mailoutbox
    assert (
        mail.to == ["auditor@example.org"]
        and mail.body.startswith(newest_head(TENANT).note)
        and "/verify/" in mail.body
    )


@pytest.mark.parametrize(
    ("kind", "address", "every_s"),
    [("file", "/etc/passwd", 60), ("http", "ftp://x", 60), ("email", "x", 60), ("pigeon", "x", 60), ("file", "", 1)],
)
def test_what_cannot_be_a_target_is_refused(kind, address, every_s):
    with pytest.raises(Invalid):
        add_target(TENANT, kind, address, every_s, "someone")


def test_a_target_is_added_once_and_removed_by_its_own_tenant():
    target = add_target(TENANT, "file", "", 60, "someone")
    with pytest.raises(Conflict):
        add_target(TENANT, "file", "", 60, "someone")
    with pytest.raises(NotFound):
        remove_target(uuid7(), target.pk, "someone")
    remove_target(TENANT, target.pk, "someone")
    assert not HeadTarget.objects.exists()


def test_two_heads_are_compared_by_a_command(tmp_path, capsys):
    a_log()
    first, last = tmp_path / "first", tmp_path / "last"
    first.write_text(SignedTreeHead.objects.get(number=2).note)
    last.write_text(newest_head(TENANT).note)
    call_command("compare_heads", str(first), str(last))
    call_command("compare_heads", str(last), str(first))
    call_command("compare_heads", str(first))
    assert capsys.readouterr().out.count("consistent: 25 entries begin with the same") == 3
    with harmed():
        cut_back(2)
        with pytest.raises(SystemExit):
            call_command("compare_heads", str(first), str(last))
        assert "BROKEN truncated" in capsys.readouterr().out
        for _ in range(40):
            something()
        with pytest.raises(SystemExit):
            call_command("compare_heads", str(last))
        assert "BROKEN forked" in capsys.readouterr().out
    last.write_text("hello")
    with pytest.raises(CommandError, match="no tree head"):
        call_command("compare_heads", str(first), str(last))


def test_keys_are_listed_replaced_and_revoked_by_a_command(capsys):
    key = keys.signing_key(TENANT)
    call_command("sealing_keys", str(TENANT), "--rotate")
    assert key.vkey in capsys.readouterr().out and keys.signing_key(TENANT) != key
    call_command("sealing_keys", str(TENANT), "--revoke", key.key_id)
    assert "revoked" in capsys.readouterr().out
    with pytest.raises(CommandError):
        call_command("sealing_keys", str(TENANT), "--revoke", key.key_id)
    call_command("sealing_keys", str(uuid7()))
    assert "No keys yet" in capsys.readouterr().out

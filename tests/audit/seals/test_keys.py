"""Signing keys: wrapped, bound to what is said of them, replaced with overlap, revoked."""

import base64
import os
from datetime import timedelta

import pytest

from audit.database.clock import database_time, uuid7
from audit.errors import Conflict, NotFound
from audit.log.events import record
from audit.models import Event
from audit.models.seals import SigningKey
from audit.seals import keys
from audit.seals.installation_key import MissingKey, Undecryptable
from audit.seals.sealer import seal_all
from audit.seals.tree import newest_head
from audit.verify.signatures import InvalidNote, TreeHead, parse_vkey
from tests.audit.cast import TENANT, a_subject, an_entry

pytestmark = pytest.mark.django_db


def a_head(key, at):
    return key.sign_note(TreeHead(key.name, 1, b"r" * 32, (f"at {keys.format_time(at)}",)).text())


def test_a_key_is_made_once_and_signs():
    key = keys.signing_key(TENANT)
    assert keys.signing_key(TENANT) == key != keys.signing_key(uuid7())
    assert parse_vkey(key.vkey).is_by(key.sign(b"data"), b"data")
    stored = SigningKey.objects.get(tenant=TENANT)
    assert key.private not in bytes(stored.wrapped) and stored.key_id == key.key_id == key.vkey.split("+")[1]
    assert key.private.hex() not in repr(key)
    assert [known["vkey"] for known in keys.public_keys(TENANT)] == [key.vkey]
    assert Event.objects.get(subject_id=stored.pk).verb == "signing_key.made"


@pytest.mark.parametrize("column", ["public", "key_id", "tenant", "valid_from", "valid_until", "revoked_at", "wrapped"])
def test_a_row_that_was_changed_does_not_open(column):
    keys.signing_key(TENANT)
    other = keys.signing_key(uuid7())
    at = database_time() + timedelta(days=1)
    value = {"public": other.public, "key_id": "00000000", "tenant": uuid7(), "wrapped": b"\1" + os.urandom(80)}
    SigningKey.objects.filter(tenant=TENANT).update(**{column: value.get(column, at)})
    tenant = SigningKey.objects.exclude(key_id=other.key_id).get().tenant
    with pytest.raises((Undecryptable, MissingKey)):
        keys.verifiers(tenant)


def test_heads_of_an_old_key_verify_within_its_window_and_no_later():
    old, made = keys.signing_key(TENANT), database_time()
    new = keys.rotate(TENANT, overlap=timedelta(hours=1))
    known = keys.verifiers(TENANT)
    assert new != old and keys.signing_key(TENANT) == new and len(known) == 2
    for key, at in ((old, made), (old, made + timedelta(minutes=59)), (new, database_time())):
        assert keys.verify_head(a_head(key, at), known).size == 1
    for key, at in ((old, made + timedelta(hours=2)), (old, made - timedelta(days=1)), (new, made)):
        with pytest.raises(InvalidNote, match="was not valid"):
            keys.verify_head(a_head(key, at), known)
    verbs = Event.objects.filter(subject_kind="signing_key").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["signing_key.made", "signing_key.retired", "signing_key.made"]


def test_what_a_revoked_key_signs_later_is_refused():
    old = keys.signing_key(TENANT)
    before = a_head(old, database_time())
    keys.revoke(TENANT, old.key_id)
    known = keys.verifiers(TENANT)
    assert keys.verify_head(before, known).size == 1 and keys.signing_key(TENANT) != old
    with pytest.raises(InvalidNote, match="was not valid"):
        keys.verify_head(a_head(old, database_time()), known)
    with pytest.raises(Conflict):
        keys.revoke(TENANT, old.key_id)
    with pytest.raises(NotFound):
        keys.revoke(TENANT, "00000000")
    assert keys.public_keys(TENANT)[0]["revoked_at"]


def test_the_log_goes_on_over_a_rotation_and_a_revocation():
    subject = a_subject()
    record(an_entry(subject))
    seal_all()
    first = newest_head(TENANT)
    keys.rotate(TENANT)
    seal_all()
    keys.revoke(TENANT, keys.signing_key(TENANT).key_id)
    record(an_entry(subject))
    seal_all()
    last, known = newest_head(TENANT), keys.verifiers(TENANT)
    assert last.key_id != first.key_id and keys.verify_head(last.note, known).size == Event.objects.count()
    assert keys.verify_head(first.note, known).size == first.size


def test_another_installation_key_wraps_them_anew(settings):
    key, old = keys.signing_key(TENANT), settings.INTERLOCK_KEK
    new = base64.b64encode(os.urandom(32)).decode()
    settings.INTERLOCK_KEK_NEW = new
    assert keys.rewrap(base64.b64decode(new)) == (1, 1) and keys.rewrap(base64.b64decode(new)) == (0, 1)
    settings.INTERLOCK_KEK, settings.INTERLOCK_KEK_NEW = new, ""
    assert keys.signing_key(TENANT) == key
    settings.INTERLOCK_KEK = old
    with pytest.raises(MissingKey):
        keys.signing_key(TENANT)

import base64
import os

import pytest

from audit.seals import installation_key
from tenants import vault
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
CONTEXT = "before-image:1:write"


def test_what_was_encrypted_comes_back_and_never_looks_the_same_twice(cast):
    blobs = {vault.encrypt(cast.acme, b"secret", CONTEXT) for _ in range(3)}
    assert len(blobs) == 3
    assert {vault.decrypt(cast.acme, blob, CONTEXT) for blob in blobs} == {b"secret"}
    assert vault.decrypt(cast.acme.pk, vault.encrypt(cast.acme.pk, b"", CONTEXT), CONTEXT) == b""


def test_another_tenant_or_another_context_cannot_decrypt(cast):
    blob = vault.encrypt(cast.acme, b"secret", CONTEXT)
    with pytest.raises(installation_key.Undecryptable):
        vault.decrypt(cast.globex, blob, CONTEXT)
    with pytest.raises(installation_key.Undecryptable):
        vault.decrypt(cast.acme, blob, CONTEXT + "2")


def test_the_tenant_is_bound_even_under_the_very_same_key(cast, monkeypatch):
    monkeypatch.setattr(vault, "unwrap", lambda wrapped, tenant_id: b"k" * 32)
    blob = vault.encrypt(cast.acme, b"secret", CONTEXT)
    with pytest.raises(installation_key.Undecryptable):
        vault.decrypt(cast.globex, blob, CONTEXT)


def test_every_flipped_byte_is_refused(cast):
    blob = vault.encrypt(cast.acme, b"secret", CONTEXT)
    for at in range(len(blob)):
        with pytest.raises(installation_key.Undecryptable):
            vault.decrypt(cast.acme, blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :], CONTEXT)
    for length in range(len(blob)):
        with pytest.raises(installation_key.Undecryptable):
            vault.decrypt(cast.acme, blob[:length], CONTEXT)


def test_a_wrapped_key_moved_to_another_tenant_does_not_open(cast):
    Tenant.objects.filter(pk=cast.globex.pk).update(wrapped_key=cast.acme.wrapped_key)
    with pytest.raises(installation_key.Undecryptable):
        vault.encrypt(cast.globex.pk, b"secret", CONTEXT)


def test_without_the_installation_key_the_words_say_what_to_restore(cast, settings):
    settings.INTERLOCK_KEK = base64.b64encode(os.urandom(32)).decode()
    with pytest.raises(installation_key.MissingKey) as caught:
        vault.encrypt(cast.acme, b"secret", CONTEXT)
    assert "INTERLOCK_KEK" in caught.value.remedies[0]


def test_a_tenant_without_a_key_gets_one_that_stays(django_assert_num_queries):
    tenant = Tenant.objects.create(slug="late", name="Late")
    blob = vault.encrypt(tenant, b"secret", CONTEXT)
    fresh = Tenant.objects.get(pk=tenant.pk)
    with django_assert_num_queries(0):
        assert vault.decrypt(fresh, blob, CONTEXT) == b"secret"


def test_mask_keys_differ_between_tenants_and_say_nothing_of_the_data_key(cast):
    assert vault.mask_key(cast.acme) == vault.mask_key(cast.acme.pk)
    assert vault.mask_key(cast.acme) != vault.mask_key(cast.globex)
    assert len(vault.mask_key(cast.acme)) == 32
    assert vault.mask_key(cast.acme) != vault.unwrap(bytes(cast.acme.wrapped_key), cast.acme.pk)

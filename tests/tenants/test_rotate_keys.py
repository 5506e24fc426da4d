import base64
import io
import json
import os

import pytest
from django.core.management import call_command

from audit.models import Event
from audit.seals import installation_key
from audit.seals import keys as signing
from tenants import vault
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


def fresh():
    return base64.b64encode(os.urandom(32)).decode()


def run():
    out = io.StringIO()
    call_command("rotate_keys", stdout=out)
    return out.getvalue()


def read(cast, blob):
    return vault.decrypt(Tenant.objects.get(pk=cast.acme.pk), blob, "c")


@pytest.fixture
def key_file(settings, tmp_path):
    settings.INTERLOCK = settings.INTERLOCK.model_copy(update={"var": tmp_path})
    settings.INTERLOCK_KEK_NEW = ""  # so that what the command sets is put back
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps({"secret_key": "s", "kek": settings.INTERLOCK_KEK, "note": "n"}))
    return path


def test_without_a_new_key_it_only_says_how(cast):
    before = Tenant.objects.get(pk=cast.acme.pk).wrapped_key
    assert "INTERLOCK_KEK_NEW" in run()
    assert Tenant.objects.get(pk=cast.acme.pk).wrapped_key == before


def test_old_values_open_before_between_and_after(cast, settings):
    blob, mask = vault.encrypt(cast.acme, b"secret", "c"), vault.mask_key(cast.acme)
    new = settings.INTERLOCK_KEK_NEW = fresh()
    assert read(cast, blob) == b"secret"
    assert "2 tenant keys re-wrapped; all 2" in run()
    assert read(cast, blob) == b"secret"
    settings.INTERLOCK_KEK, settings.INTERLOCK_KEK_NEW = new, ""
    assert read(cast, blob) == b"secret"
    assert vault.mask_key(cast.acme.pk) == mask
    assert Event.objects.filter(verb="tenant.key_rewrapped").count() == 2
    settings.INTERLOCK_KEK = fresh()
    with pytest.raises(installation_key.MissingKey):
        read(cast, blob)


def test_a_second_run_finds_nothing_to_do(cast, settings):
    settings.INTERLOCK_KEK_NEW = fresh()
    run()
    assert "0 tenant keys" in run()
    assert Event.objects.filter(verb="tenant.key_rewrapped").count() == 2


def test_a_tenant_made_during_the_rotation_is_under_the_new_key(settings):
    settings.INTERLOCK_KEK_NEW = fresh()
    tenant = Tenant.objects.create(slug="late", name="Late")
    vault.encrypt(tenant, b"secret", "c")
    assert vault.is_wrapped_under(Tenant.objects.get(pk=tenant.pk), base64.b64decode(settings.INTERLOCK_KEK_NEW))


def test_the_embedded_set_up_keeps_its_new_key_in_the_file(cast, settings, key_file):
    blob, old = vault.encrypt(cast.acme, b"secret", "c"), settings.INTERLOCK_KEK
    run()
    stored = json.loads(key_file.read_text())
    assert stored["kek"] != old
    assert "kek_new" not in stored
    assert stored["secret_key"] == "s"
    assert key_file.stat().st_mode & 0o077 == 0
    settings.INTERLOCK_KEK, settings.INTERLOCK_KEK_NEW = stored["kek"], ""
    assert read(cast, blob) == b"secret"


def test_a_crash_half_way_loses_no_key_and_the_next_run_finishes(cast, settings, key_file, monkeypatch):
    blob = vault.encrypt(cast.acme, b"secret", "c")
    command = "tenants.management.commands.rotate_keys.rewrap_tenant_keys"
    with monkeypatch.context() as patch:
        patch.setattr(command, lambda kek: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run()
    stored = json.loads(key_file.read_text())
    assert stored["kek"] == settings.INTERLOCK_KEK
    assert read(cast, blob) == b"secret"
    run()
    assert json.loads(key_file.read_text())["kek"] == stored["kek_new"]
    assert read(cast, blob) == b"secret"


def test_signing_keys_are_wrapped_anew_with_the_others(cast, settings):
    key = signing.signing_key(cast.acme.pk)
    new = settings.INTERLOCK_KEK_NEW = fresh()
    run()
    settings.INTERLOCK_KEK, settings.INTERLOCK_KEK_NEW = new, ""
    assert signing.signing_key(cast.acme.pk) == key

import io

import pytest
from django.core.management import CommandError, call_command

from audit.models import Event
from tenants.access import access_for, holds
from tenants.models import Environment, Principal, Tenant

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough pass phrase"


def run(monkeypatch, *options, password=PASSWORD):
    monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
    out = io.StringIO()
    call_command("bootstrap", "--tenant", "initech", "--admin", "peter", "--password-stdin", *options, stdout=out)
    return out.getvalue()


def test_it_makes_a_tenant_environments_and_an_admin_and_says_what_is_next(monkeypatch):
    said = run(monkeypatch, "--environment", "prod:dangerous:/srv/app", "--environment", "dev:safe")
    tenant = Tenant.objects.get(slug="initech")
    admin = Principal.objects.get(username="peter")
    assert Environment.objects.get(tenant=tenant, slug="prod").root == "/srv/app"
    assert admin.check_password(PASSWORD)
    assert holds(admin, "administer", tenant)
    assert not access_for(admin, tenant).can("approve")
    assert "Approval rules" in said
    verbs = set(Event.objects.filter(tenant=tenant.pk).values_list("verb", flat=True))
    assert {"tenant.created", "environment.created", "role.member_added", "principal.made_admin"} <= verbs


def test_a_second_time_it_refuses_and_changes_nothing(monkeypatch):
    run(monkeypatch)
    with pytest.raises(CommandError, match="A tenant exists already"):
        run(monkeypatch)
    assert Tenant.objects.count() == 1
    assert Environment.objects.count() == 3


def test_force_adds_another_tenant_for_the_same_admin_and_leaves_the_password(monkeypatch):
    run(monkeypatch)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    call_command("bootstrap", "--tenant", "initrode", "--admin", "peter", "--force", stdout=io.StringIO())
    admin = Principal.objects.get(username="peter")
    assert admin.check_password(PASSWORD)
    assert holds(admin, "administer", Tenant.objects.get(slug="initrode"))
    with pytest.raises(CommandError, match="slug"):
        call_command("bootstrap", "--tenant", "initrode", "--admin", "peter", "--force", stdout=io.StringIO())


@pytest.mark.parametrize(
    ("options", "password", "words"),
    [
        ((), "short", "is not accepted"),
        (("--environment", "prod:deadly"), PASSWORD, "SLUG:RISK"),
        (("--environment", "prod:safe:relative"), PASSWORD, "absolute"),
        (("--environment", "Pr od:safe"), PASSWORD, "lower-case"),
    ],
)
def test_what_cannot_be_is_refused_with_words_and_leaves_nothing(monkeypatch, options, password, words):
    with pytest.raises(CommandError, match=words):
        run(monkeypatch, *options, password=password)
    assert not Tenant.objects.exists()
    assert not Principal.objects.exists()
    assert not Event.objects.exists()

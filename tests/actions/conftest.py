import pytest

from tests.actions.factory import a_running_lease


@pytest.fixture
def a_lease(db):
    return a_running_lease()


@pytest.fixture
def cast(db):
    from types import SimpleNamespace

    from tenants.models import Environment, Principal, Tenant

    acme = Tenant.objects.create(slug="acme", name="Acme")
    dev = Environment.objects.create(tenant=acme, slug="dev", name="dev", risk_class="safe")
    return SimpleNamespace(acme=acme, dev=dev, operator=Principal.objects.create_user("operator"))

import pytest
from django.db import IntegrityError, connection, transaction

from tenants.models import Environment, Principal, Resource

pytestmark = [pytest.mark.django_db, pytest.mark.dialect]


def refused(act):
    with pytest.raises(IntegrityError), transaction.atomic():
        act()


def test_an_agent_needs_an_owner_and_a_person_has_none(cast):
    refused(lambda: Principal.objects.create_user("free-agent", kind="agent"))
    refused(lambda: Principal.objects.create_user("owned", owner=cast.operator))
    refused(lambda: Principal.objects.filter(pk=cast.agent.pk).update(owner=None))


def test_an_owner_is_a_person(cast):
    refused(lambda: Principal.objects.create_agent("sub-agent", cast.agent))
    refused(lambda: Principal.objects.filter(pk=cast.agent.pk).update(owner=cast.agent))
    refused(lambda: Principal.objects.filter(pk=cast.operator.pk).update(kind="agent", owner=cast.approver))


def test_an_agent_is_no_staff_and_no_superuser(cast):
    refused(lambda: Principal.objects.filter(pk=cast.agent.pk).update(is_superuser=True))
    refused(lambda: Principal.objects.filter(pk=cast.agent.pk).update(is_staff=True))


def test_a_username_exists_once_in_whatever_case(cast):
    refused(lambda: Principal.objects.create_user("OPERATOR"))


def test_a_resource_belongs_to_the_tenant_of_its_environment(cast):
    refused(lambda: Resource.objects.create(tenant=cast.globex, environment=cast.dev, kind="file", name="a"))
    resource = Resource.objects.create(tenant=cast.acme, environment=cast.dev, kind="file", name="a")
    refused(lambda: Resource.objects.filter(pk=resource.pk).update(tenant=cast.globex))
    refused(lambda: Resource.objects.filter(pk=resource.pk).update(environment=cast.globex_prod))


def test_a_risk_class_is_one_of_three(cast):
    refused(lambda: Environment.objects.filter(pk=cast.dev.pk).update(risk_class="harmless"))


def test_the_triggers_survived_every_migration():
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'tenants_%%'")
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'tenants_%%'")
        names = {row[0] for row in cursor.fetchall()}
    rules = ("tenants_owner_is_person", "tenants_resource_in_tenant")
    assert all(any(name.startswith(rule) for name in names) for rule in rules)
    assert len(names) == (2 if connection.vendor == "postgresql" else 4)

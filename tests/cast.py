"""The people and places that every test may count on.

Tenant acme has dev (safe), staging (guarded) and prod (dangerous) on real directories; globex has prod. Everyone holds
the role of their name in the whole of acme, but: approver2 is an approver, agent is an operator owned by operator,
admin is a superuser too, outsider is globex's operator. Nobody has a password until a test gives one.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from tenants.access import Access, access_for
from tenants.audit_hooks.events import SETUP_ACTOR
from tenants.authentication.tokens import issue_token
from tenants.models import PERMISSIONS, Environment, Principal, Role, Tenant
from tenants.provisioning import create_environment, create_tenant
from tenants.roles import add_member
from tests import servers
from tests.support.snapshot import remembered

RISK = {"dev": "safe", "staging": "guarded", "prod": "dangerous"}
ROLE_OF = {"approver2": "approver", "agent": "operator", "outsider": "operator"}


@dataclass
class Cast:
    """`cast.operator` and the others are principals; `roles` and `environments` are by name, of acme."""

    acme: Tenant
    globex: Tenant
    dev: Environment
    staging: Environment
    prod: Environment
    globex_prod: Environment
    operator: Principal
    approver: Principal
    approver2: Principal
    security: Principal
    auditor: Principal
    admin: Principal
    outsider: Principal
    agent: Principal
    roles: dict[str, Role] = field(default_factory=dict)

    def tenant_of(self, name: str) -> Tenant:
        return self.globex if name == "outsider" else self.acme

    def access(self, name: str) -> Access:
        """What they may do in their tenant, read now."""
        return access_for(getattr(self, name), self.tenant_of(name))

    def token(self, name: str, scopes: tuple[str, ...] = tuple(PERMISSIONS)) -> str:
        """A fresh API token in plain text, good for an hour."""
        until = timezone.now() + timedelta(hours=1)
        return issue_token(getattr(self, name), self.tenant_of(name), "test", scopes, until, SETUP_ACTOR)[1]

    def client(self, name: str, **options: bool) -> Client:
        """A browser in which they are signed in."""
        client = Client(**options)
        client.force_login(getattr(self, name), backend="django.contrib.auth.backends.ModelBackend")
        return client

    def api(self, name: str) -> Client:
        """A program that sends their token, and no cookies."""
        return Client(headers={"Authorization": f"Bearer {self.token(name)}"}, enforce_csrf_checks=True)


PLACES = servers.scratch_directory()


def make_cast(then: Callable[[Cast], object] | None = None) -> Cast:
    """Make them all, and what `then` adds, with roots that are empty directories; the same in every test."""

    def make() -> Cast:
        cast = _make()
        if then is not None:
            then(cast)
        return cast

    cast = remembered(f"cast {then.__qualname__}" if then is not None else "cast", make)
    shutil.rmtree(PLACES, ignore_errors=True)
    for environment in (cast.dev, cast.staging, cast.prod, cast.globex_prod):
        Path(environment.root).mkdir(parents=True)
    return cast


def _make() -> Cast:
    tenants = {slug: create_tenant(slug, slug.capitalize()) for slug in ("acme", "globex")}
    acme, globex = tenants["acme"], tenants["globex"]
    places = {slug: _environment(acme, slug) for slug in RISK}
    places["globex_prod"] = _environment(globex, "prod")
    people = {n: _person(n) for n in ("operator", "approver", "approver2", "security", "auditor", "outsider")}
    people["admin"] = Principal.objects.create_superuser("admin", display_name="Admin")
    people["agent"] = Principal.objects.create_agent("agent", people["operator"], display_name="Agent")
    roles = {tenant.slug: {role.name: role for role in tenant.roles.all()} for tenant in tenants.values()}
    for name, principal in people.items():
        add_member(principal, roles["globex" if name == "outsider" else "acme"][ROLE_OF.get(name, name)])
    return Cast(**tenants, **places, **people, roles=roles["acme"])


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def _environment(tenant: Tenant, slug: str) -> Environment:
    root = PLACES / tenant.slug / slug
    return create_environment(tenant, slug, slug, RISK[slug], str(root))


def _person(name: str) -> Principal:
    return Principal.objects.create_user(name, display_name=name.capitalize(), email=f"{name}@example.test")

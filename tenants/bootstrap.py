"""The first tenant, its environments, and the person who administers them."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from audit.errors import Conflict
from audit.log.events import NewEvent, record
from tenants.models import Principal, Tenant
from tenants.places import create_environment, create_tenant
from tenants.roles import SETUP, add_member, principal_subject


@dataclass(frozen=True)
class Place:
    slug: str
    risk_class: str
    root: str = ""


class AlreadySetUp(Conflict):
    """There is a tenant already; nothing was changed."""

    code = "already_set_up"


def bootstrap(
    *, slug: str, name: str, places: Sequence[Place], username: str, email: str, password: str, force: bool = False
) -> Tenant:
    """Create all of it, or nothing. The admin is a superuser with the role `admin`: it approves nothing by itself.

    With `force`, another tenant is added beside those that exist, and a person who exists becomes its admin; their
    password stays. Raises AlreadySetUp; ValidationError for names that cannot be.
    """
    with transaction.atomic():
        if not force and Tenant.objects.exists():
            raise AlreadySetUp(remedies=["Use the admin; or --force to add one more tenant."])
        tenant = create_tenant(slug, name)
        for place in places:
            create_environment(tenant, place.slug, place.slug, place.risk_class, place.root)
        admin = Principal.objects.filter(username__iexact=username, kind="person").first() if force else None
        admin = admin or _create_admin(username, email, password)
        add_member(admin, tenant.roles.get(name="admin"))
        facts = {"superuser": admin.is_superuser}
        record(NewEvent(tenant.pk, principal_subject(admin), "principal.made_admin", SETUP, facts=facts))
    return tenant


def _create_admin(username: str, email: str, password: str) -> Principal:
    admin = Principal(username=username, email=email, is_staff=True, is_superuser=True)
    admin.set_password(password)
    admin.full_clean()
    admin.save(force_insert=True)
    return admin

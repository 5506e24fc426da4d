"""One tenant with everybody who could want to decide, and requests to decide on. The subjects are of kind "thing"."""

from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from django.contrib.auth.models import Group
from guardian.shortcuts import assign_perm

from approvals.models import Request
from audit.database.clock import database_time, uuid7
from audit.models import Event
from tenants.access import Access, access_for
from tenants.models import Environment, Principal, Role, Tenant
from tests.support.snapshot import remembered

DIGEST, OTHER_DIGEST = "9f3c" * 16, "41d8" * 16
ROLES = {
    "operator": ("view", "propose", "operate"),
    "approver": ("view", "approve"),
    "security": ("view", "approve"),
    "auditor": ("view", "audit"),
}
PEOPLE = {
    "operator": ["operator"],
    "approver": ["approver"],
    "approver2": ["approver"],
    "approver3": ["approver"],
    "security": ["security"],
    "both": ["approver", "security"],
    "all_rounder": ["operator", "approver"],
    "auditor": ["auditor"],
    "stranger": [],
}
TWO_APPROVERS = [{"role": "approver", "count": 2}]


@dataclass
class Scene:
    """`people` by name, `roles` by name; `agent` is the all_rounder's."""

    tenant: Tenant
    prod: Environment
    dev: Environment
    roles: dict[str, Role]
    people: SimpleNamespace
    agent: Principal

    def access(self, name: str | Principal) -> Access:
        return access_for(getattr(self.people, name) if isinstance(name, str) else name, self.tenant)


def grant(role: Role, where: Tenant | Environment, *permissions: str) -> None:
    for permission in permissions:
        assign_perm(permission, role.group, where)


def a_role(tenant: Tenant, name: str, *permissions: str) -> Role:
    role = Role.objects.create(tenant=tenant, name=name, group=Group.objects.create(name=f"{tenant.slug}:{name}"))
    grant(role, tenant, *permissions)
    return role


def a_scene(slug: str = "acme") -> Scene:
    return remembered(f"scene of {slug}", lambda: _make(slug))


def _make(slug: str) -> Scene:
    tenant = Tenant.objects.create(slug=slug, name=slug.title())
    prod = Environment.objects.create(tenant=tenant, slug="prod", name="Production", risk_class="dangerous")
    dev = Environment.objects.create(tenant=tenant, slug="dev", name="Development", risk_class="safe")
    roles = {name: a_role(tenant, name, *permissions) for name, permissions in ROLES.items()}
    people = SimpleNamespace()
    for name, held in PEOPLE.items():
        person = Principal.objects.create_user(f"{slug}.{name}", display_name=name.replace("_", " ").title())
        person.groups.add(*(roles[role].group for role in held))
        setattr(people, name, person)
    boss = Principal.objects.create_superuser(f"{slug}.boss")
    people.boss = boss
    agent = Principal.objects.create_agent(f"{slug}.agent", people.all_rounder)
    agent.groups.add(roles["operator"].group, roles["approver"].group)
    return Scene(tenant, prod, dev, roles, people, agent)


def a_request(scene: Scene, required_approvals: list[dict[str, Any]] | None = None, **fields: Any) -> Request:
    """An open request of the operator's, on a new thing in prod."""
    now = database_time()
    values: dict[str, Any] = {
        "tenant": scene.tenant,
        "environment": scene.prod,
        "subject_kind": "thing",
        "subject_id": uuid7(),
        "digest": DIGEST,
        "required_approvals": TWO_APPROVERS if required_approvals is None else required_approvals,
        "requester": scene.people.operator,
        "opened_at": now,
        "expires_at": now + timedelta(hours=1),
    }
    values |= fields
    values.setdefault("excluded", [str(values["requester"].pk)])
    return Request.objects.create(**values)


def verbs(request: Request) -> list[tuple[str, str]]:
    """What was recorded on the request's subject: verb and outcome, in order."""
    return list(Event.objects.filter(subject_id=request.subject_id).order_by("seq").values_list("verb", "outcome"))

"""The demo's guard policies: drafted and published at setup, with the events that any draft and publication leave."""

import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from actions.demo import environments
from approvals.models import MatrixRow, Policy
from approvals.policies.drafts import draft_policy
from approvals.policies.matrix import set_row
from approvals.policies.policy_text import PolicyText
from approvals.policies.publish import publish
from tenants.models import Environment, Principal, Resource, Role, Tenant
from tenants.provisioning import create_environment, create_tenant
from tenants.roles import add_member

POLICY_ACTOR = "system:setup"


@dataclass(frozen=True)
class ExamplePolicy:
    slug: str
    policy_text: PolicyText
    everywhere: bool = False


EXAMPLES = (
    ExamplePolicy(
        "no-deletes-of-services-in-prod",
        PolicyText(
            expression='environment.name == "prod"\n&& plan.deletes > 0\n'
            '&& resources.exists(r, r.name.startsWith("services/"))',
            effect="require",
            required_approvals=[{"role": "security", "count": 1}],
            message="Deletes next to services in production are looked at by security as well.",
        ),
        everywhere=True,
    ),
    ExamplePolicy(
        "agents-need-confidence",
        PolicyText(
            expression='requester.kind == "agent" && action.confidence < 0.8',
            effect="warn",
            message="An agent proposed this without being sure of it: read the diff as if nobody had.",
        ),
    ),
    ExamplePolicy(
        "autonomous-diagnostics",
        PolicyText(
            expression='environment.name == "dev" && action.risk_class == "safe"\n'
            '&& action.type in ["collect_diagnostics", "rerun_healthcheck"]',
            effect="allow_autonomous",
            message="Looking at dev needs nobody.",
        ),
    ),
)


def publish_policies(acme: Tenant) -> None:
    """Draft and publish whichever of the examples the demo does not know yet."""
    for example in EXAMPLES:
        tenant = None if example.everywhere else acme
        if not Policy.objects.filter(tenant=tenant, slug=example.slug).exists():
            made = draft_policy(acme, example.slug, example.policy_text, by=POLICY_ACTOR, everywhere=example.everywhere)
            publish(made.pk, None, POLICY_ACTOR, expected=None)


# The demo's tenants, environments, people and rules. Loaded once; loading again changes nothing.


ACTOR = "system:setup"
PASSWORD_SUFFIX = "-demo"
PEOPLE = {
    "operator": ("Olu Adeyemi", "acme", ["operator"]),
    "approver": ("Ada Marchetti", "acme", ["approver"]),
    "approver2": ("Ben Okonjo", "acme", ["approver"]),
    "security": ("Sana Iqbal", "acme", ["security"]),
    "auditor": ("Ines Moreau", "acme", ["auditor"]),
    "admin": ("Max Lindholm", "acme", ["admin"]),
    "outsider": ("Gil Winters", "globex", ["operator"]),
}
ONE, TWO = [{"role": "approver", "count": 1}], [{"role": "approver", "count": 2}]
WITH_SECURITY = [*TWO, {"role": "security", "count": 1}]
MATRIX: dict[str, dict[str, list[dict[str, object]]]] = {
    "dev": {"low": [], "medium": [], "high": ONE, "critical": TWO},
    "staging": {"low": [], "medium": ONE, "high": ONE},
    "prod": {"low": TWO, "medium": TWO, "high": TWO, "critical": WITH_SECURITY},
}
ENVIRONMENTS = {"dev": ("Development", "safe"), "staging": ("Staging", "guarded"), "prod": ("Production", "dangerous")}
COSTS = {"services/checkout.yaml": "420.00", "services/orders.yaml": "310.00", "db/orders-db.conf": "1240.00"}
NEEDS = {"services/checkout.yaml": "services/orders.yaml", "services/orders.yaml": "db/orders-db.conf"}
"""Which of them stops working when which other does."""
HOURS = {"timezone": "Europe/Berlin", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "07:00", "to": "19:00"}


@dataclass
class World:
    """What the scenes are played with."""

    acme: Tenant
    globex: Tenant
    people: dict[str, Principal]

    def root(self, environment: str) -> Path:
        return root_of("acme", environment)


def root_of(tenant: str, environment: str) -> Path:
    return Path(settings.INTERLOCK.var) / "demo" / tenant / environment


def load_people() -> World:
    """Create whatever of the demo's world is missing."""
    acme, globex = _tenant("acme", "Acme"), _tenant("globex", "Globex")
    people = {name: _person(name, full) for name, (full, _, _) in PEOPLE.items()}
    for name, (_, slug, roles) in PEOPLE.items():
        tenant = {"acme": acme, "globex": globex}[slug]
        for role in Role.objects.filter(tenant=tenant, name__in=roles):
            add_member(people[name], role, by=ACTOR)
    people["agent"] = _agent(people["operator"])
    add_member(people["agent"], Role.objects.get(tenant=acme, name="operator"), by=ACTOR)
    publish_policies(acme)
    return World(acme, globex, people)


def _tenant(slug: str, name: str) -> Tenant:
    tenant = Tenant.objects.filter(slug=slug).first() or create_tenant(slug, name)
    for environment, (label, risk) in ENVIRONMENTS.items():
        root = root_of(slug, environment)
        root.mkdir(parents=True, exist_ok=True)
        place = Environment.objects.filter(tenant=tenant, slug=environment).first()
        if place is None:
            door = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/healthz"
            reach = {"allow_private_targets": True, "host_facts": True, "healthchecks": {"front door": {"url": door}}}
            reach |= {"recommendation_only": False} if environment == "dev" else {}
            reach |= environments.settings() if (slug, environment) == ("acme", "staging") else {}
            reach |= {"hours": HOURS} if environment == "staging" else {}
            place = create_environment(tenant, environment, label, risk, str(root), settings=reach)
        for tier, required_approvals in MATRIX[environment].items():
            if not MatrixRow.objects.filter(environment=place, tier=tier).exists():
                set_row(place, tier, required_approvals, by=ACTOR)
        _inventory(place)
    return tenant


def _inventory(place: Environment) -> None:
    known: dict[str, Resource] = {}
    for path, cost in COSTS.items():
        fields = {"tenant": place.tenant, "monthly_cost": cost, "risk_class": place.risk_class}
        known[path], _ = Resource.objects.get_or_create(environment=place, kind="file", name=path, defaults=fields)
    for path, needed in NEEDS.items():
        known[path].depends_on.add(known[needed])


def _person(username: str, full_name: str) -> Principal:
    found = Principal.objects.filter(username=username).first()
    if found is not None:
        return found
    staff = username == "admin"
    return Principal.objects.create_user(
        username,
        username + PASSWORD_SUFFIX,
        display_name=full_name,
        email=f"{username}@acme.example",
        is_staff=staff,
        is_superuser=staff,
    )


def _agent(owner: Principal) -> Principal:
    found = Principal.objects.filter(username="agent").first()
    return found or Principal.objects.create_agent("agent", owner, display_name="Deploy agent")

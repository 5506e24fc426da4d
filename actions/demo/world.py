"""The demo's world: tenants, people, environments with their files and services, policies. Loading again changes
nothing."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from approvals.models import MatrixRow, Policy
from approvals.policies.drafts import draft_policy
from approvals.policies.matrix import set_row
from approvals.policies.policy_text import PolicyText
from approvals.policies.publish import publish
from tenants.models import Environment, Principal, Resource, Role, Tenant
from tenants.provisioning import create_environment, create_tenant
from tenants.roles import add_member

GREETER = """\
import http.server
import sys


class Greeter(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"{greeting}\\n"
        self.send_response({status})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Greeter).serve_forever()
"""
RELEASES = {"1.0": ("hello", 200), "1.1": ("good day", 200)}
BROKEN = ("out of order", 503)
DEPLOYMENT_STATE = {
    "format": "interlock.deployment/1",
    "stages": {"build": {"result": "succeeded"}, "migrate": {"result": "failed", "exit_code": 1}},
}


def service_settings() -> dict[str, Any]:
    """The services and deployments of an environment that `lay_out_services` has laid out."""
    port = int(os.environ.get("PORT", "8000")) + 713
    python = [sys.executable, "-I"]
    stages = [
        {"name": "build", "command": [*python, "stage.py", "build"]},
        {"name": "migrate", "command": [*python, "stage.py", "migrate"], "undo": [*python, "stage.py", "migrate back"]},
        {"name": "publish", "command": [*python, "stage.py", "publish"]},
    ]
    greeter = {
        "root": "services/greeter",
        "command": [*python, "serve.py", str(port)],
        "health": {"url": f"http://127.0.0.1:{port}/"},
        "health_deadline_s": 15,
        "keep_releases": 5,
    }
    return {"services": {"greeter": greeter}, "deployments": {"shop": {"stages": stages}}}


def write_services(root: Path) -> None:
    """Write releases, an artifact that is not well, and the deployment's state where they are missing."""
    files = {f"services/greeter/releases/{name}/serve.py": service_source(*said) for name, said in RELEASES.items()}
    files["artifacts/greeter/1.2/serve.py"] = service_source(*BROKEN)
    files["deployments/shop/stage.py"] = "import sys\nimport time\n\ntime.sleep(2)\nprint(sys.argv[1], 'done')\n"
    files["deployments/shop/state.json"] = json.dumps(DEPLOYMENT_STATE, indent=1) + "\n"
    for name, text in files.items():
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def service_source(greeting: str, status: int) -> str:
    return GREETER.format(greeting=greeting, status=status)


# Files that the environments start with: small, plausible, without secrets.


CHECKOUT = """\
# checkout: takes carts to orders
service: checkout
replicas: {replicas}
image: registry.example/checkout:2026.11.2
env:
  LOG_LEVEL: info
  PAYMENT_TIMEOUT_S: 8
  CART_TTL_MIN: 30
health:
  path: /healthz
  interval_s: 10
limits:
  cpu: "2"
  memory: 1Gi
"""
ORDERS = """\
service: orders
replicas: {replicas}
image: registry.example/orders:2026.11.0
env:
  LOG_LEVEL: info
  DB_POOL: 20
"""
DATABASE = """\
# orders-db
max_connections = 200
shared_buffers = 2GB
work_mem = 16MB
wal_level = replica
log_min_duration_statement = 500
"""
FLAGS = """\
{
  "checkout_v3": false,
  "new_search": true,
  "express_shipping": false
}
"""
FIREWALL = """\
allow tcp 10.20.0.0/16 -> api:443
allow tcp 10.30.0.0/16 -> vault:8200
deny  any any
"""


def write_files(root: Path, replicas: int) -> None:
    """Write the starting files of one environment where they are missing."""
    for name, text in {
        "services/checkout.yaml": CHECKOUT.format(replicas=replicas),
        "services/orders.yaml": ORDERS.format(replicas=replicas),
        "db/orders-db.conf": DATABASE,
        "flags.json": FLAGS,
        "edge/firewall.rules": FIREWALL,
        "legacy/ingress.conf": "# retired, kept for reference\nlisten 8081\n",
    }.items():
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


# Policies, drafted and published as anybody would.


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
            message="Deletes of services in production also require an approval by security.",
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


# Tenants, environments and people.


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
            reach |= service_settings() if (slug, environment) == ("acme", "staging") else {}
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

"""The demo's guard policies: drafted and published at setup, with the events that any draft and publication leave."""

from dataclasses import dataclass

from approvals.models import Policy
from approvals.policies.drafts import draft_policy
from approvals.policies.policy_text import PolicyText
from approvals.policies.publish import publish
from tenants.models import Tenant

BY = "system:setup"


@dataclass(frozen=True)
class Example:
    slug: str
    policy_text: PolicyText
    everywhere: bool = False


EXAMPLES = (
    Example(
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
    Example(
        "agents-need-confidence",
        PolicyText(
            expression='requester.kind == "agent" && action.confidence < 0.8',
            effect="warn",
            message="An agent proposed this without being sure of it: read the diff as if nobody had.",
        ),
    ),
    Example(
        "autonomous-diagnostics",
        PolicyText(
            expression='environment.name == "dev" && action.risk_class == "safe"\n'
            '&& action.type in ["collect_diagnostics", "rerun_healthcheck"]',
            effect="allow_autonomous",
            message="Looking at dev needs nobody.",
        ),
    ),
)


def put_in_force(acme: Tenant) -> None:
    """Draft and publish whichever of the examples the demo does not know yet."""
    for example in EXAMPLES:
        tenant = None if example.everywhere else acme
        if not Policy.objects.filter(tenant=tenant, slug=example.slug).exists():
            made = draft_policy(acme, example.slug, example.policy_text, by=BY, everywhere=example.everywhere)
            publish(made.pk, None, BY, expected=None)

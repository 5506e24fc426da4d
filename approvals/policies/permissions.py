"""Who may change the rules: people who administer the tenant; for global ones, every tenant."""

from uuid import UUID

from django.db.models import Q

from approvals.errors import MayNotChangeRules
from approvals.models import MatrixDraft, MatrixRow, Policy, PolicyVersion
from approvals.verdict import requires_enough_people
from audit.errors import NotFound
from tenants.access import Access, holds
from tenants.models import Environment, Principal, Tenant

RISK_ORDER = ("safe", "guarded", "dangerous")
By = Access | str
"""A caller, or the product itself: "system:<role>"."""


def require_may_change_policies(by: By, home: Tenant, *, everywhere: bool = False) -> str:
    """The actor of a change to a tenant's policies. Raises MayNotChangeRules; NotFound for another tenant."""
    if isinstance(by, str):
        return by
    if by.tenant.pk != home.pk:
        raise NotFound
    if not by.can("administer"):
        raise MayNotChangeRules(remedies=["Ask a tenant admin for a role that may administer."])
    if everywhere and not administers_every_tenant(by):
        raise MayNotChangeRules(
            "A global policy guards every tenant. Only a signed-in person who administers all of them may draft it.",
            remedies=["Draft it for your own tenant instead."],
        )
    return str(by.principal.pk)


def require_may_change_matrix(by: By, tenant_id: UUID, environment_id: UUID) -> str:
    """The actor of a change to one environment's matrix. Raises MayNotChangeRules; NotFound for another tenant."""
    if isinstance(by, str):
        return by
    if by.tenant.pk != tenant_id or not by.can("view", environment_id):
        raise NotFound
    if not by.can("administer", environment_id):
        raise MayNotChangeRules(
            "Only admins of the environment change its matrix.",
            remedies=["Ask a tenant admin for a role that may administer there."],
        )
    return str(by.principal.pk)


def environments_deciding_policies(tenant_id: UUID) -> list[Environment]:
    """Where changes of a tenant's policies are decided: its environments of the highest risk class, by slug.

    A policy guards all of them, so nobody can choose a lenient one. If some of these have a critical row that requires
    enough people, only those are returned: an environment created a moment ago has none. Two queries.
    """
    environments = list(Environment.objects.filter(tenant=tenant_id).order_by("slug"))
    highest = max((RISK_ORDER.index(each.risk_class) for each in environments), default=0)
    riskiest = [each for each in environments if RISK_ORDER.index(each.risk_class) == highest]
    rows = MatrixRow.objects.filter(environment__in=riskiest, tier="critical")
    with_row = {row.environment_id for row in rows if requires_enough_people(row.required_approvals)}
    return [each for each in riskiest if each.pk in with_row] or riskiest


def author_of(by: By) -> Principal | None:
    return None if isinstance(by, str) else by.principal


def administers_every_tenant(access: Access) -> bool:
    """Whether the caller administers every tenant. A token belongs to one, so it never does."""
    if access.token is not None:
        return False
    return all(holds(access.principal, "administer", tenant) for tenant in Tenant.objects.all())


def readable_policies(access: Access) -> Q:
    """The policies that the caller may read: their tenant's and the global ones, if they may view anything there."""
    if not (access.environments_where("view") or access.can("administer")):
        return Q(pk__in=[])
    return Q(tenant=access.tenant) | Q(tenant=None)


def find_policy(access: Access, policy_id: UUID) -> Policy:
    """A policy that the caller may read. Raises NotFound."""
    found = Policy.objects.select_related("tenant", "home").filter(readable_policies(access), pk=policy_id).first()
    if found is None:
        raise NotFound
    return found


def find_version(access: Access, version_id: UUID) -> PolicyVersion:
    """A version of a policy that the caller may read; drafts of global ones only at their home. Raises NotFound."""
    joined = PolicyVersion.objects.select_related("policy__tenant", "policy__home", "author")
    found = joined.filter(pk=version_id).first()
    if found is None or not may_read(access, found):
        raise NotFound
    return found


def may_read(access: Access, version: PolicyVersion) -> bool:
    policy = version.policy
    at_home = policy.home_id == access.tenant.pk
    if not at_home and (policy.tenant_id is not None or version.published_at is None):
        return False
    return bool(access.environments_where("view")) or access.can("administer")


def find_matrix_draft(access: Access, draft_id: UUID) -> MatrixDraft:
    """A draft of the matrix of an environment that the caller may view. Raises NotFound."""
    found = MatrixDraft.objects.select_related("environment", "tenant", "author").filter(pk=draft_id).first()
    if found is None or found.tenant_id != access.tenant.pk or not access.can("view", found.environment_id):
        raise NotFound
    return found

"""How far a change of the rules reaches, and who may therefore propose it."""

from uuid import UUID

from actions.errors import NotAllowed
from actions.intake.submission import Submission
from approvals.models import PolicyVersion
from approvals.policies.permissions import administers_every_tenant
from approvals.verdict import CONFIG_CHANGE
from tenants.access import Access


def refuse_beyond_reach(access: Access, s: Submission) -> None:
    """Raise NotAllowed unless the caller administers all that a change of policies reaches. Only for those: one query.

    A matrix is its environment's own; a policy guards the whole tenant, wherever the action lands; a global one guards
    every tenant. The same people may therefore put a policy in force, or take it out, as may draft it.
    """
    if s.type != CONFIG_CHANGE or s.parameters.get("kind") == "matrix":
        return
    if not access.can("administer"):
        raise NotAllowed(
            "A policy guards the whole tenant; only who administers all of it may propose to change one.",
            remedies=["Ask somebody who administers the whole tenant to propose it."],
        )
    found = PolicyVersion.objects.select_related("policy").filter(pk=UUID(str(s.parameters["draft"]))).first()
    if found is not None and found.policy.is_global and not administers_every_tenant(access):
        raise NotAllowed(
            "A global policy guards every tenant; only who administers all, signed in, may propose to change it.",
            remedies=["Ask somebody who administers every tenant, or draft a policy of your own tenant."],
        )

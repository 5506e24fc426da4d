"""What this floor erases of a person: how they are called, once nobody but this tenant knows them."""

from uuid import UUID

from audit.errors import Conflict
from audit.retention.erasure import register_eraser
from tenants.access import belongs_to
from tenants.models import Principal

ERASED_NAME = "Erased person"


def register_name_erasure() -> None:
    register_eraser("names", erase_names)


def erase_names(tenant: UUID, person: UUID) -> int:
    """
    Take name, username and address from a principal; return 1, or 0 where another tenant still knows them.

    Raises Conflict while the account is active: somebody could still act under a name that is gone.
    """
    principal = Principal.objects.select_for_update().filter(pk=person).first()
    if principal is None:
        return 0
    belongs = {t.pk for t in belongs_to(principal)}
    if principal.is_active and tenant in belongs:
        raise Conflict(
            f"{principal.username} can still sign in.", remedies=["Deactivate the account, then erase what it wrote."]
        )
    if principal.is_active or belongs - {tenant}:
        return 0
    principal.display_name, principal.email, principal.username = ERASED_NAME, "", f"erased-{principal.pk}"
    principal.save(update_fields=["display_name", "email", "username"])
    return 1

"""When connections should look at their caller again: roles changed, somebody signed out."""

from typing import Any
from uuid import UUID

from django.contrib.auth.signals import user_logged_out

from actions.live.groups import tell_principal
from tenants.models import Principal
from tenants.roles import roles_changed


def connect() -> None:
    roles_changed.connect(on_roles_changed, dispatch_uid="actions.live.roles")
    user_logged_out.connect(on_signed_out, dispatch_uid="actions.live.signed_out")


def on_roles_changed(sender: Any, *, principal_id: UUID, **kwargs: Any) -> None:
    tell_principal(principal_id)


def on_signed_out(sender: Any, *, user: Principal | None, **kwargs: Any) -> None:
    if user is not None:
        tell_principal(user.pk)

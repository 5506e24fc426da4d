"""Who was shown what of a plan while it was asked for: noted wherever a plan or a diff is handed out."""

from collections.abc import Iterable

import structlog
from django.db import DatabaseError

from actions.models import Action, Plan
from actions.states import State
from actions.verbs import request_of
from approvals.requests.view_tracking import record_view
from tenants.access import Access

log = structlog.get_logger(__name__)


def note_reading(access: Access, action: Action, plan: Plan | None, opened: Iterable[int] = (), total: int = 0) -> None:
    """Note that the caller has been shown this plan, and these changes of it. Never fails the look itself."""
    if plan is None or action.state != State.AWAITING_APPROVAL:
        return
    try:
        record_view(request_of(action), access, plan.digest, opened, total)
    except DatabaseError as error:
        log.warning("reading_not_noted", action=str(action.pk), error=str(error))

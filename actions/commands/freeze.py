"""Freeze and unfreeze an environment."""

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from actions.controls.worker_queues import wake_up
from actions.engine.sweep import resume_unfrozen, stop_frozen_runs
from actions.errors import NotAllowed, WrongState
from actions.models import Freeze
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from tenants.access import Access
from tenants.models import Environment

MAX_REASON = 2_000


def find_environment(access: Access, slug: str) -> Environment:
    """An environment that the caller may view, with its tenant. Raises NotFound."""
    found = Environment.objects.select_related("tenant").filter(tenant=access.tenant, slug=slug).first()
    if found is None or not access.can("view", found.pk):
        raise NotFound
    return found


def freeze(access: Access, slug: str, reason: str, *, correlation_id: str = "") -> Freeze:
    """
    Freeze an environment, and request that its runs stop. Event `environment.frozen`. Raises NotFound, NotAllowed,
    Invalid, and WrongState if it is frozen.
    """
    place = _find_permitted(access, slug)
    _require_reason(reason)
    by = str(access.principal.pk)
    try:
        with transaction.atomic():
            made = Freeze.objects.create(
                tenant=place.tenant, environment=place, reason=reason.strip(), set_by=access.principal
            )
            entry = _entry(place, "environment.frozen", by, correlation_id, {"freeze": str(made.pk)}, reason)
            record(entry)
    except IntegrityError:
        raise WrongState(
            f"{place.name} is already frozen.", remedies=["Unfreeze it first to change the reason."]
        ) from None
    stop_frozen_runs([place.tenant_id], [place.pk], by)
    return Freeze.objects.select_related("environment", "set_by").get(pk=made.pk)


def unfreeze(access: Access, slug: str, reason: str, *, correlation_id: str = "") -> int:
    """
    Unfreeze an environment, and resume what the freeze held; return how many resume at once. Event
    `environment.unfrozen`.

    Actions over a concurrency limit, or about to be held by a worker, follow with the sweep. Raises NotFound,
    NotAllowed, Invalid, and WrongState if it is not frozen.
    """
    place = _find_permitted(access, slug)
    _require_reason(reason)
    by = str(access.principal.pk)
    with transaction.atomic():
        now = Freeze.objects.filter(environment=place, lifted_at=None)
        lifted = list(now.values_list("pk", flat=True))
        if not now.update(lifted_at=Now(), lifted_by=access.principal):
            raise WrongState(f"{place.name} is not frozen.")
        record(_entry(place, "environment.unfrozen", by, correlation_id, {"freeze": str(lifted[0])}, reason))
    resumed = resume_unfrozen(by, [place.pk])
    wake_up("execute")
    return resumed


def _find_permitted(access: Access, slug: str) -> Environment:
    place = find_environment(access, slug)
    if not (access.can("operate", place.pk) or access.can("administer", place.pk)):
        raise NotAllowed(
            f"Only an operator of {place.name} may freeze or unfreeze it.",
            remedies=["Ask a tenant admin for a role that may operate there."],
        )
    return place


def _require_reason(reason: str) -> None:
    words = "Give a reason for operators and auditors." if not reason.strip() else ""
    if len(reason) > MAX_REASON:
        words = f"At most {MAX_REASON:,} characters."
    if words:
        raise Invalid(words, issues=[{"severity": "error", "message": words, "field": "reason"}])


def _entry(place: Environment, verb: str, by: str, via: str, facts: dict[str, str], reason: str) -> NewEvent:
    subject = Subject("environment", place.pk, place.name, f"/environments/{place.slug}/")
    return NewEvent(place.tenant_id, subject, verb, by, "ok", via, facts, {"reason": reason.strip()})

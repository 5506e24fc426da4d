"""The place in which traps are laid: a cast, a matrix, and everything that a refused attempt must leave alone."""

from dataclasses import dataclass
from typing import Any

from django.test import Client

from actions.models import Action, JournalEntry, Plan
from approvals.models import Decision, MatrixDraft, MatrixRow, Policy, PolicyVersion, Request
from approvals.policies.active_policies import epoch_of
from approvals.policies.matrix import set_row
from audit.models import Event
from tenants.models import Principal
from tenants.roles import add_member
from tests.actions.factory import edit, propose, root_of
from tests.actions.running import carry
from tests.cast import Cast
from tests.policies.factory import SETUP, published

TIERS = ("low", "medium", "high", "critical")
ONE = [{"role": "approver", "count": 1}]
TWO = [{"role": "approver", "count": 2}]
EACH = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]


@dataclass(frozen=True)
class Attempt:
    """Who tries what, with the digest that they send. `program` is one with a token from before the trap shut."""

    who: str
    action: Action
    verb: str
    digest: str
    program: Client | None = None


@dataclass
class World:
    """Production asks for `required_approvals` whatever the tier; the requester also holds the approvers' role where
    a trap says.
    """

    cast: Cast

    def required_approvals(self, required_approvals: list[dict[str, Any]] | None = None) -> None:
        for tier in TIERS:
            set_row(self.cast.prod, tier, ONE if required_approvals is None else required_approvals, by=SETUP)

    def file(self) -> Any:
        return root_of(self.cast.prod) / "app.conf"

    def asked(self, who: str = "operator") -> Action:
        """A change of production that was proposed and judged."""
        self.file().write_text("before\n")
        return carry(propose(self.cast, who, environment="prod", parameters=edit()))

    def attempt(
        self, who: str, action: Action, verb: str = "approve", digest: str = "", program: Client | None = None
    ) -> Attempt:
        plan = Action.objects.select_related("plan").get(pk=action.pk).plan
        return Attempt(who, action, verb, digest or (plan.digest if plan else "0" * 64), program)

    def give(self, who: str, role: str) -> Principal:
        person = getattr(self.cast, who)
        add_member(person, self.cast.roles[role])
        return person

    def rule(self, expression: str, **more: Any) -> PolicyVersion:
        return published(self.cast.acme, "trap", expression=expression, **more)

    def everything(self) -> dict[str, Any]:
        """All that a refused attempt leaves as it was, but for the events: those are told apart by the table."""
        models = (Action, Plan, Request, Decision, MatrixRow, Policy, PolicyVersion, MatrixDraft, JournalEntry)
        left_out = {"seq", "lease_id"}  # an event of a refusal takes the action's next number
        rows = {
            m.__name__: [{k: v for k, v in r.items() if k not in left_out} for r in m.objects.order_by("pk").values()]
            for m in models
        }
        return {**rows, "epoch": epoch_of(self.cast.acme.pk), "file": self.file().read_text()}

    def events_since(self, last: int) -> list[tuple[str, str, str]]:
        """What was recorded about actions, approvals and rules since: verb, outcome, actor."""
        kinds = ("action", "policy", "matrix", "matrix_row")
        found = Event.objects.filter(pk__gt=last, subject_kind__in=kinds).order_by("pk")
        return list(found.values_list("verb", "outcome", "actor"))

    @staticmethod
    def last_event() -> int:
        return Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

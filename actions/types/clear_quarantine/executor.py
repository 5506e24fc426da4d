"""The executor of ``clear_quarantine``, and the store of quarantines that the product registers with it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from actions.types.protocol import Draft, Issue, Outcome, PlanRefused, Probe, StepContext, Target, error
from actions.types.shared.executor_base import outcome_if_out_of_time, own_connection
from audit.changes.document import Change
from audit.errors import Problem


@dataclass(frozen=True)
class QuarantineRecord:
    """A quarantine as it is now. `standing`: in_force or cleared; `held_by`: the action that is not resolved yet."""

    id: UUID
    environment_id: UUID
    environment: str
    kind: str
    name: str
    because: str
    since: str
    standing: str
    cleared_by: UUID | None = None
    held_by: UUID | None = None


class QuarantineStore(Protocol):
    """Reads and changes quarantines, each in a transaction of its own, from any thread with a connection."""

    def find(self, tenant_id: UUID, quarantine_id: UUID) -> QuarantineRecord | None:
        """The quarantine of this tenant."""

    def clear(self, tenant_id: UUID, quarantine_id: UUID, action_id: UUID | None, key: str) -> bool:
        """Clear it for this action; False if it was cleared by this action already. Raises Problem if by another."""

    def put_back(self, tenant_id: UUID, quarantine_id: UUID, action_id: UUID | None, key: str) -> bool:
        """Put back what this action cleared; False if it is in force. Raises Problem if somebody else's is."""


_stores: list[QuarantineStore] = []


def register_quarantine_store(keeper: QuarantineStore) -> None:
    """Say who keeps them."""
    _stores[:] = [keeper]


def quarantine_store() -> QuarantineStore:
    """Whoever keeps them. Raises PlanRefused where nobody does: then nothing is cleared."""
    if not _stores:
        raise PlanRefused([error("No quarantine keeper is configured, so none can be cleared.", "quarantine")])
    return _stores[0]


# The executor: one step, compared as it is made; its undo sets the quarantine again.


SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["quarantine"],
    "properties": {
        "quarantine": {
            "title": "Which quarantine",
            "description": "Its id, as the page Quarantine and GET /api/quarantines give it.",
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        },
        "found": {
            "title": "What you found",
            "description": "State of the resource and how you checked it. Approvers rely on it.",
            "type": "string",
            "maxLength": 4000,
            "x-widget": "textarea",
        },
    },
}
STEP = "clear"


class ClearQuarantine:
    """One step: end a quarantine, unless it is another one by now than the one that was looked at."""

    name = "clear_quarantine"
    version = "1"
    title = "Clear a quarantine"
    description = "Lets a resource be touched again that was put in quarantine."
    schema = SCHEMA
    security_level = "high"
    risk_class = "dangerous"
    changes_something = True

    def level_of(self, parameters: dict[str, Any]) -> str:
        return "high"

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        try:
            self.plan(parameters, target)
        except PlanRefused as refused:
            return refused.issues
        return []

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        with own_connection():
            kept = quarantine_store().find(target.tenant_id, UUID(parameters["quarantine"]))
        if kept is None:
            raise PlanRefused([error("There is no such quarantine here.", "quarantine")])
        if kept.environment_id != target.environment_id:
            words = f"It is in {kept.environment}: propose it there, so that its own people decide."
            raise PlanRefused([error(words, "quarantine")])
        if kept.standing != "in_force":
            raise PlanRefused([error("It has been cleared already.", "quarantine")])
        if kept.held_by is not None:
            words = f"The action that caused it has not ended. Resolve it first: {kept.held_by}."
            raise PlanRefused([error(words, "quarantine")])
        return build_draft(kept, "clear")

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        spec = plan_steps[0]["spec"]
        with own_connection():
            kept = quarantine_store().find(target.tenant_id, UUID(spec["quarantine"]))
        if kept is None or kept.standing != AFTER[spec["verb"]]:
            raise PlanRefused("It changed since; there is nothing to undo.")
        return build_draft(kept, OPPOSITE[spec["verb"]])

    def apply(self, ctx: StepContext) -> Outcome:
        stopped = outcome_if_out_of_time(ctx)
        return stopped or self._carry_out(ctx, ctx.step["spec"]["verb"], ctx.idempotency_key)

    def probe(self, ctx: StepContext) -> Probe:
        return self._probed(ctx, ctx.step["spec"]["verb"])

    def compensate(self, ctx: StepContext) -> Outcome:
        return self._carry_out(ctx, OPPOSITE[ctx.step["spec"]["verb"]], f"{ctx.idempotency_key}:undo")

    def probe_undo(self, ctx: StepContext) -> Probe:
        return self._probed(ctx, OPPOSITE[ctx.step["spec"]["verb"]])

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        with own_connection():
            return [_verify_step(step, _current_state(step["spec"], target)) for step in steps]

    def _probed(self, ctx: StepContext, verb: str) -> Probe:
        with own_connection():
            found = _current_state(ctx.step["spec"], ctx.target)
        return Probe.DONE if found == AFTER[verb] else Probe.NOT_DONE if found else Probe.UNKNOWN

    def _carry_out(self, ctx: StepContext, verb: str, key: str) -> Outcome:
        spec = ctx.step["spec"]
        try:
            with own_connection():
                change = quarantine_store().clear if verb == "clear" else quarantine_store().put_back
                changed = change(ctx.target.tenant_id, UUID(spec["quarantine"]), ctx.action_id, key)
        except Problem as problem:
            return Outcome(False, "precondition", f"{problem.detail} Nothing was touched.")
        ctx.log(f"{spec['kind']} {spec['name']}: {DONE_TEXTS[verb] if changed else 'it was so already'}")
        return Outcome(True, facts={"changed": changed})


OPPOSITE = {"clear": "put_back", "put_back": "clear"}
AFTER = {"clear": "cleared", "put_back": "in_force"}
DONE_TEXTS = {"clear": "is no longer in quarantine", "put_back": "is in quarantine again"}
TITLES = {"clear": "Clear the quarantine of {}", "put_back": "Put {} back in quarantine"}


def build_draft(kept: QuarantineRecord, verb: str) -> Draft:
    """The plan of one end of a quarantine, or of its return: the resource and why it was shut, before and after."""
    what = f"{kept.kind} {kept.name}"
    shut = f"quarantine: in force\nresource: {what}\nsince: {kept.since}\nbecause: {kept.because}\n"
    free = f"quarantine: cleared\nresource: {what}\n"
    before, after = (shut, free) if verb == "clear" else (free, shut)
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (before, after)]
    title, back = TITLES[verb].format(what), TITLES[OPPOSITE[verb]].format(what)
    step = {
        "key": STEP,
        "title": title,
        "target": what,
        "operation": "modify",
        "after": [],
        "precondition": {"sha256": digests[0]},
        "compensation": {"kind": "reversible", "title": back},
        "spec": {"verb": verb, "quarantine": str(kept.id), "kind": kept.kind, "name": kept.name},
    }
    change = Change(
        key=STEP,
        target=f"quarantine/{kept.kind}/{kept.name}",
        kind="quarantine",
        operation="modify",
        before=before,
        after=after,
        before_digest=digests[0],
        after_digest=digests[1],
        language="yaml",
    )
    return Draft(
        resources=[{"kind": "quarantine", "name": f"{kept.environment}:{what}"}],
        changes=[change],
        steps=[step],
        preconditions=[{"target": what, "sha256": digests[0]}],
        compensations=[{"step": STEP, "kind": "reversible", "title": back}],
        summary=f"{title}.",
    )


def _current_state(spec: dict[str, Any], target: Target) -> str:
    kept = quarantine_store().find(target.tenant_id, UUID(spec["quarantine"]))
    return kept.standing if kept else ""


def _verify_step(step: dict[str, Any], found: str) -> dict[str, Any]:
    ok = found == AFTER[step["spec"]["verb"]]
    return {"name": step["title"], "ok": ok, "detail": f"It is {found.replace('_', ' ') or 'gone'}."}

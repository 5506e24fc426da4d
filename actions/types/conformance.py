"""The suite that every executor must pass. Subclass it in a pytest module and say how to make a case:

    class TestMyExecutor(ExecutorConformance):
        def make(self, root):
            return Case(MyExecutor(), target(root), {"size": 3}, bad=[({"size": -1}, "size")])

Each test gets a fresh ``Case`` on a fresh directory. ``docs/executor_authors.md`` says why each rule is there. It needs
pytest and jsonschema-rs, and neither a database nor a running Interlock.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from actions.types.protocol import (
    COMPENSATION_KINDS,
    RISK_CLASSES,
    SECURITY_LEVELS,
    Draft,
    Executor,
    Outcome,
    PlanRefused,
    Probe,
    StepContext,
    Target,
)
from actions.types.registry import protocol_faults
from audit.changes.document import serialize_changes
from audit.log.canonical_json import canonical, digest_of

STEP_KEYS = {"key", "title", "target", "operation", "after", "precondition", "compensation", "spec"}
OPTIONAL_STEP_KEYS = {"timeout_s", "fallback_for", "may_skip", "idempotent"}
TENANT = uuid.UUID("01930000-0000-7000-8000-000000000001")
ENVIRONMENT = uuid.UUID("01930000-0000-7000-8000-000000000002")


def target(root: Path | None, **settings: Any) -> Target:
    """Return a target for tests: tenant and environment are fixed, the environment is called ``dev``."""
    return Target(TENANT, ENVIRONMENT, "dev", root, settings, mask_key=b"conformance mask key 32 bytes ok")


@dataclass
class ExecutorCase:
    """One executor with parameters that it can carry out on ``target``.

    ``snapshot`` returns the target's whole state as something comparable. ``effects`` returns how many effects were
    made so far (``None``: cannot be counted, the snapshot decides). ``tamper`` changes the target behind the executor's
    back, so that neither the state before nor the one after holds. ``bad`` are (parameters, field) that must be refused
    naming the field. ``secret`` must appear nowhere in what ``plan`` returns.
    """

    executor: Executor
    target: Target
    parameters: dict[str, Any]
    snapshot: Callable[[], Any] = lambda: None
    tamper: Callable[[], object] | None = None
    effects: Callable[[], int] | None = None
    bad: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    secret: str = ""

    def plan(self) -> Draft:
        return self.executor.plan(self.parameters, self.target)

    def context(self, draft: Draft, step: dict[str, Any], **more: Any) -> StepContext:
        return StepContext(
            target=self.target,
            step=step,
            parameters=self.parameters,
            idempotency_key=step["idempotency_key"],
            before_image=lambda: draft.before_images.get(step["key"]),
            **more,
        )

    def contexts(self, draft: Draft, **more: Any) -> list[StepContext]:
        return [self.context(draft, step, **more) for step in self.steps(draft)]

    def steps(self, draft: Draft) -> list[dict[str, Any]]:
        """The steps as the engine keeps them: with their idempotency keys."""
        return [{**step, "idempotency_key": f"key-{step['key']}"} for step in draft.steps]

    def run(self, draft: Draft, **more: Any) -> list[Outcome]:
        outcomes = [self.executor.apply(ctx) for ctx in self.contexts(draft, **more)]
        assert all(outcome.ok for outcome in outcomes), outcomes
        return outcomes

    def undo(self, draft: Draft) -> None:
        for ctx in reversed(self.contexts(draft)):
            outcome = self.executor.compensate(ctx)
            assert outcome.ok, outcome

    def faults(self, parameters: dict[str, Any]) -> list[str]:
        """Return the fields that schema and executor find fault with, as intake would tell them."""
        schema = jsonschema_rs.validator_for(self.executor.schema)
        found = [".".join(map(str, e.instance_path)) or e.message for e in schema.iter_errors(parameters)]
        if found:
            return found
        issues = self.executor.validate(parameters, self.target)
        assert all(issue.message and issue.severity in ("error", "warning") for issue in issues)
        return [issue.field for issue in issues if issue.severity == "error"]


class ExecutorConformance:
    """Rules for every executor. ``make`` builds the case; everything else is inherited."""

    def make(self, root: Path) -> ExecutorCase:
        raise NotImplementedError("say how to make a case")

    @pytest.fixture
    def case(self, tmp_path: Path) -> ExecutorCase:
        root = tmp_path / "root"
        root.mkdir()
        return self.make(root)

    @pytest.fixture
    def changing(self, case: ExecutorCase) -> ExecutorCase | None:
        return case if case.executor.changes_something else None

    # What it says of itself

    def test_it_fits_the_protocol(self, case: ExecutorCase) -> None:
        assert protocol_faults(case.executor, case.executor.name) == []
        assert case.executor.security_level in SECURITY_LEVELS
        assert case.executor.risk_class in RISK_CLASSES
        assert case.executor.title and case.executor.description and case.executor.version

    def test_its_schema_is_a_2020_12_object_schema_that_draws_a_form(self, case: ExecutorCase) -> None:
        schema = case.executor.schema
        jsonschema_rs.meta.validate(schema)
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert all("title" in each for each in schema["properties"].values())
        assert case.faults(case.parameters) == []

    def test_its_level_is_known_and_never_below_its_base(self, case: ExecutorCase) -> None:
        level = case.executor.level_of(case.parameters)
        assert SECURITY_LEVELS.index(level) >= SECURITY_LEVELS.index(case.executor.security_level)

    def test_bad_parameters_are_refused_by_field_and_touch_nothing(self, case: ExecutorCase) -> None:
        before = case.snapshot()
        assert case.bad, "give at least one example of parameters that must be refused"
        for parameters, name in case.bad:
            faults = case.faults(parameters)
            assert any(fault.startswith(name) for fault in faults), (parameters, name, faults)
        assert case.snapshot() == before

    # Planning

    def test_planning_touches_nothing_and_gives_the_same_plan_twice(self, case: ExecutorCase) -> None:
        before = case.snapshot()
        first, second = case.plan(), case.plan()
        assert to_digestible(first) == to_digestible(second)
        assert case.snapshot() == before

    def test_a_plan_is_complete_and_canonical(self, case: ExecutorCase) -> None:
        draft = case.plan()
        check_draft(draft)
        assert bool(draft.changes) <= case.executor.changes_something
        assert set(draft.before_images) <= {step["key"] for step in draft.steps}

    def test_a_plan_shows_no_secret(self, case: ExecutorCase) -> None:
        if case.secret:
            assert case.secret.encode() not in canonical(to_digestible(case.plan()))
            assert case.secret not in repr(case.plan())

    # Running

    def test_a_probe_before_says_not_done(self, case: ExecutorCase) -> None:
        before = case.snapshot()
        assert {case.executor.probe(ctx) for ctx in case.contexts(case.plan())} == {Probe.NOT_DONE}
        assert case.snapshot() == before

    def test_applying_succeeds_with_facts_that_can_be_stored(self, case: ExecutorCase) -> None:
        for outcome in case.run(case.plan()):
            canonical(outcome.facts)

    def test_a_probe_after_says_done(self, changing: ExecutorCase | None) -> None:
        if changing:
            draft = changing.plan()
            changing.run(draft)
            assert {changing.executor.probe(ctx) for ctx in changing.contexts(draft)} == {Probe.DONE}

    def test_applying_twice_makes_one_effect(self, changing: ExecutorCase | None) -> None:
        if changing:
            draft = changing.plan()
            changing.run(draft)
            once, effects = changing.snapshot(), changing.effects() if changing.effects else 0
            changing.run(draft)
            assert changing.snapshot() == once
            assert effects == (changing.effects() if changing.effects else 0)

    def test_something_that_only_looks_changes_nothing(self, case: ExecutorCase) -> None:
        if not case.executor.changes_something:
            before, draft = case.snapshot(), case.plan()
            case.run(draft)
            case.undo(draft)
            assert case.snapshot() == before
            assert draft.changes == []
            with pytest.raises(PlanRefused):
                case.executor.plan_undo(case.steps(draft), case.target, lambda step: None)

    def test_a_stopping_run_begins_no_step(self, case: ExecutorCase) -> None:
        before, draft = case.snapshot(), case.plan()
        outcomes = [case.executor.apply(ctx) for ctx in case.contexts(draft, stopping=lambda: True)]
        assert not any(outcome.ok for outcome in outcomes)
        assert case.snapshot() == before

    # Verifying

    def test_verifying_holds_after_the_run(self, case: ExecutorCase) -> None:
        draft = case.plan()
        case.run(draft)
        rows = case.executor.verify(case.steps(draft), case.target)
        assert all(row["ok"] is True and row["name"] and isinstance(row["detail"], str) for row in rows), rows
        assert len(rows) >= len(draft.steps) or not case.executor.changes_something

    def test_verifying_sees_tampering_and_the_undo_refuses_it(self, changing: ExecutorCase | None) -> None:
        if changing and changing.tamper:
            draft = changing.plan()
            changing.run(draft)
            changing.tamper()
            tampered = changing.snapshot()
            assert not all(row["ok"] for row in changing.executor.verify(changing.steps(draft), changing.target))
            with pytest.raises(PlanRefused) as refused:
                changing.executor.plan_undo(changing.steps(draft), changing.target, draft.before_images.get)
            assert all(issue.message for issue in refused.value.issues)
            assert changing.snapshot() == tampered

    def test_a_stale_precondition_is_refused_without_effect(self, changing: ExecutorCase | None) -> None:
        if changing and changing.tamper:
            draft = changing.plan()
            changing.tamper()
            before = changing.snapshot()
            outcomes = [changing.executor.apply(ctx) for ctx in changing.contexts(draft)[:1]]
            assert not outcomes[0].ok, outcomes
            assert outcomes[0].code
            assert outcomes[0].message
            assert changing.snapshot() == before
            assert changing.executor.probe(changing.contexts(draft)[0]) == Probe.UNKNOWN

    # Undoing

    def test_compensating_restores_exactly_and_twice_is_once(self, changing: ExecutorCase | None) -> None:
        if changing:
            before, draft = changing.snapshot(), changing.plan()
            changing.run(draft)
            changing.undo(draft)
            assert changing.snapshot() == before
            assert {changing.executor.probe_undo(ctx) for ctx in changing.contexts(draft)} == {Probe.DONE}
            changing.undo(draft)
            assert changing.snapshot() == before

    def test_a_probe_of_the_undo_says_not_done_before_it(self, changing: ExecutorCase | None) -> None:
        if changing:
            draft = changing.plan()
            changing.run(draft)
            assert {changing.executor.probe_undo(ctx) for ctx in changing.contexts(draft)} == {Probe.NOT_DONE}

    def test_half_a_run_can_be_compensated(self, changing: ExecutorCase | None) -> None:
        if changing:
            before, draft = changing.snapshot(), changing.plan()
            first = changing.contexts(draft)[0]
            assert changing.executor.apply(first).ok
            changing.undo(draft)
            assert changing.snapshot() == before

    def test_a_completed_run_can_be_undone_by_a_new_plan_and_that_too(self, changing: ExecutorCase | None) -> None:
        if changing:
            before, draft = changing.snapshot(), changing.plan()
            changing.run(draft)
            after = changing.snapshot()
            undo = changing.executor.plan_undo(changing.steps(draft), changing.target, draft.before_images.get)
            check_draft(undo)
            if changing.secret:
                assert changing.secret.encode() not in canonical(to_digestible(undo))
            assert changing.snapshot() == after, "planning the undo changed something"
            changing.run(undo, undone=draft.before_images.get)
            assert changing.snapshot() == before
            assert all(row["ok"] for row in changing.executor.verify(changing.steps(undo), changing.target))
            changing.undo(undo)
            assert changing.snapshot() == after
            changing.run(undo, undone=draft.before_images.get)
            redo = changing.executor.plan_undo(changing.steps(undo), changing.target, undo.before_images.get)
            changing.run(redo, undone=undo.before_images.get)
            assert changing.snapshot() == after


def to_digestible(draft: Draft) -> dict[str, Any]:
    """Return what a plan's digest is taken over, as far as the executor makes it."""
    return {
        "resources": draft.resources,
        "preconditions": draft.preconditions,
        "changes": serialize_changes(draft.changes),
        "steps": draft.steps,
        "compensations": draft.compensations,
    }


def check_draft(draft: Draft) -> None:
    """Assert that a plan has what the engine, the reviewer and the digest need."""
    assert draft.steps
    assert draft.summary
    assert draft.resources
    assert all(each["kind"] and each["name"] for each in draft.resources)
    keys = [step["key"] for step in draft.steps]
    assert len(keys) == len(set(keys))
    for n, step in enumerate(draft.steps):
        assert step.keys() - OPTIONAL_STEP_KEYS == STEP_KEYS, f"step {step['key']} has {sorted(step)}"
        assert step["title"] and step["operation"]
        assert set(step["after"]) <= set(keys[:n]), "a step may only come after earlier ones"
        assert step["compensation"]["kind"] in COMPENSATION_KINDS
    assert {change.key for change in draft.changes} <= set(keys)
    assert [each["step"] for each in draft.compensations] == keys
    assert digest_of(to_digestible(draft)) == digest_of(json.loads(canonical(to_digestible(draft))))
    canonical(draft.observations)

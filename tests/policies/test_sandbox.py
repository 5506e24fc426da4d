"""The evaluating process: typed facts, faults with their place, and bombs that cost nothing else."""

import time

import pytest

from approvals.policies.fact_schema import FACTS
from approvals.policies.sandbox.process import MAX_S, SandboxProcess

SAMPLES = {
    "int": 1,
    "double": 0.5,
    "bool": True,
    "string": "prod",
    "timestamp": "2026-11-21T22:30:00+00:00",
    "resources": [{"kind": "file", "name": "a.conf", "risk_class": "safe", "known": True}],
}
SAMPLE = {name: SAMPLES[fact.kind] for name, fact in FACTS.items()}
LIST = "[1,2,3,4,5,6,7,8,9,10]"


def nested(depth: int) -> str:
    body = "true"
    for n in range(depth):
        body = f"{LIST}.all(v{n}, {body})"
    return body


@pytest.fixture(scope="module")
def cell():
    cell = SandboxProcess()
    yield cell
    cell.close()


@pytest.mark.parametrize(
    ("source", "line", "column", "words"),
    [
        ("plan.deletez > 0", 1, 5, "undeclared reference"),
        ("plan.deletes > 0 &&\n  environment.nam == 'prod'", 2, 14, "undeclared reference"),
        ("plan.deletes > 'a'", 1, 14, "no matching overload"),
        ("plan.deletes >", 1, 15, "Syntax error"),
        ("plan.deletes", 1, 1, "of type int"),
        ("", 1, 1, "Write an expression"),
        ("true || " * 600 + "true", 1, 1, "At most 4,096 characters"),
    ],
)
def test_a_fault_is_named_with_its_line_and_column(cell, source, line, column, words):
    faults = cell.check(source)
    assert (faults[0].line, faults[0].column) == (line, column)
    assert words in faults[0].message


@pytest.mark.parametrize("name", sorted(FACTS))
def test_every_documented_fact_can_be_read(cell, name):
    assert cell.check(f"{name} == {name}") == []
    assert cell.evaluate([f"{name} == {name}"], SAMPLE)[0].value is True


def test_only_true_is_true(cell):
    true, false, error, other = cell.evaluate(
        ["plan.deletes == 1", "plan.deletes == 2", "plan.deletes / 0 == 1", "plan.deletes"], SAMPLE
    )
    assert (true.value, true.error) == (True, "")
    assert (false.value, false.error) == (False, "")
    assert error.value is None
    assert "divide by zero" in error.error
    assert other.value is None
    assert "of type int" in other.error


def test_time_and_resources_read_as_documented(cell):
    sources = ["now.getHours('Europe/Berlin') == 23", "resources.exists(r, r.name.endsWith('.conf'))"]
    assert [r.value for r in cell.evaluate(sources, SAMPLE)] == [True, True]


@pytest.mark.parametrize(
    "bomb",
    [nested(7), "+".join(["1"] * 1_500) + " > 0", "(" * 900 + "true" + ")" * 900],
    ids=["loops", "sum", "brackets"],
)
def test_a_bomb_is_cut_off_within_its_bound_and_harms_no_other(cell, bomb):
    cell.evaluate(["true"], SAMPLE)
    began = time.monotonic()
    blown, sound = cell.evaluate([bomb, "plan.deletes == 1"], SAMPLE)
    assert time.monotonic() - began < MAX_S + 2
    assert blown.value is None
    assert blown.error
    assert sound.value is True


def test_a_process_that_dies_or_hangs_is_replaced_and_its_policy_errs(monkeypatch):
    cell = SandboxProcess()
    try:
        assert cell.evaluate(["true"], SAMPLE)[0].value is True
        cell._process.kill()
        cell._process.wait()
        dead, alive = cell.evaluate(["true", "true"], SAMPLE)
        assert dead.error
        cell_again = cell.evaluate(["true"], SAMPLE)
        assert cell_again[0].value is True
        assert alive.value in (True, None)
    finally:
        cell.close()


def test_many_facts_come_to_what_each_comes_to(cell):
    sources = ["plan.deletes == 1", "plan.deletes / (plan.steps - 1) > 0", "now.getHours() == 22", "'no.such' == ''"]
    many = [{**SAMPLE, "plan.deletes": n, "plan.steps": n} for n in range(30)]
    assert cell.evaluate_many(sources, many) == [cell.evaluate(sources, facts) for facts in many]
    assert cell.evaluate_many([], many) == [[]] * 30 and cell.evaluate_many(sources, []) == []


LONG = "['a']" + f".map(s, {'+'.join('s' * 10)})" * 7
SLOW = "s.contains('aab')"
BOMB = f"plan.deletes == 3 && {LONG}.exists(s, {' || '.join([SLOW] * 60)})"
"""Within the library's own bounds, but far beyond ours."""


def test_a_bomb_among_many_facts_costs_its_own_only(cell):
    many = [{**SAMPLE, "plan.deletes": n} for n in range(6)]
    found = cell.evaluate_many([BOMB, "plan.deletes > 2"], many)
    assert [policy_results[0].value for policy_results in found] == [False, False, False, None, False, False]
    assert found[3][0].was_cut_off
    assert [policy_results[1].value for policy_results in found] == [False, False, False, True, True, True]


def test_what_is_cut_off_again_and_again_is_given_up(cell):
    many = [{**SAMPLE, "plan.deletes": 3}] * 6
    patience = {BOMB: 2}
    began = time.monotonic()
    found = cell.evaluate_many([BOMB, "true"], many, patience)
    assert time.monotonic() - began < 2 * (2 * MAX_S + 2)
    assert patience == {BOMB: 0}
    assert all(policy_results[0].was_cut_off and policy_results[1].value is True for policy_results in found)
    assert "not tried" in found[-1][0].error and "not tried" not in found[1][0].error

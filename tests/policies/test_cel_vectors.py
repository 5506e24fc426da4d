"""The CEL specification's own vectors, as policies in the real cell: what is documented holds, the rest denies.

Which sections count, and why the others do not, is in cel_subset.py. Each case becomes a policy that compares value and
type, because a policy says true or false and nothing else.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from approvals.policies.sandbox.process import ExpressionResult, SandboxProcess
from tests.policies import cel_subset as subset
from tests.policies.test_sandbox import SAMPLE
from tests.support.vectors import vectors

FILES: dict[str, list[dict[str, Any]]] = {
    path.stem: json.loads(path.read_text())["tests"] for path in sorted(vectors("cel-spec").glob("*.json"))
}
Named = dict[str, dict[str, Any]]


def covered(file: str) -> Named:
    """The cases of a file that a policy must get right, by name."""
    sections = subset.COVERED[file]
    return {
        name: case
        for name, case in named(file).items()
        if (not sections or case["section"] in sections)
        and not any(case.get(why) for why in subset.LEFT_OUT)
        and name not in subset.KNOWN
    }


def named(file: str) -> Named:
    return {f"{file}/{case['section']}/{case['name']}": case for case in FILES[file]}


@pytest.fixture(scope="module")
def cell() -> Iterator[SandboxProcess]:
    cell = SandboxProcess()
    yield cell
    cell.close()


def went_wrong(case: dict[str, Any], ruling: ExpressionResult) -> bool:
    if "eval_error" in case:
        return ruling.value is not None or not ruling.error
    return ruling.value is not True or bool(ruling.error)


@pytest.mark.parametrize("file", [file for file in subset.COVERED if file in FILES])
def test_every_case_of_the_documented_subset_holds(cell, file):
    cases = covered(file)
    policy_results = cell.evaluate([subset.as_policy(case) for case in cases.values()], SAMPLE)
    paired = zip(cases.items(), policy_results, strict=True)
    assert len(cases) >= 1
    assert {name: (case["expr"], ruling) for (name, case), ruling in paired if went_wrong(case, ruling)} == {}


def test_the_known_cases_are_still_the_ones_that_do_not_hold(cell):
    cases = {name: case for file in subset.COVERED if file in FILES for name, case in named(file).items()}
    known = [cases[name] for name in subset.KNOWN]
    policy_results = cell.evaluate([subset.as_policy(case) for case in known], SAMPLE)
    assert all(went_wrong(case, ruling) for case, ruling in zip(known, policy_results, strict=True))


@pytest.mark.parametrize("file", [file for file in subset.EXTENSIONS if file in FILES])
def test_what_is_not_documented_errs_and_so_denies(cell, file):
    """No extension half works: none of its expressions comes to a value, true or false."""
    cases = [case for case in FILES[file] if not any(case.get(why) for why in subset.LEFT_OUT)]
    sources = [f"({case['expr']}) == ({case['expr']})" for case in cases]
    answered = zip(cases, cell.evaluate(sources, SAMPLE), strict=True)
    assert {case["expr"]: ruling for case, ruling in answered if ruling.value is not None or not ruling.error} == {}


def test_every_section_is_covered_or_has_a_reason_not_to_be():
    sections = {(file, case["section"]) for file, cases in FILES.items() for case in cases}
    undecided = {
        f"{file}/{section}"
        for file, section in sections
        if file not in subset.EXCLUDED
        and f"{file}/{section}" not in subset.EXCLUDED
        and not (file in subset.COVERED and (not subset.COVERED[file] or section in subset.COVERED[file]))
    }
    assert undecided == set()


def test_enough_is_covered_that_it_means_something():
    assert sum(len(covered(file)) for file in subset.COVERED if file in FILES) > 500


@pytest.mark.parametrize(
    "source",
    [
        "plan.deletes == 1 && !(plan.deletes != 1) || false",
        "plan.deletes > 0 ? true : plan.deletes / 0 == 1",
        "false && plan.deletes / 0 == 1 || true",
        "plan.cost_delta <= 0.5 && plan.cost_delta >= 0.5 && plan.cost_delta != 1.0 && 1.0 > plan.cost_delta",
        "environment.name.startsWith('pr') && environment.name.endsWith('od') && environment.name.contains('ro')",
        "environment.name.matches('^p[a-z]+$') && size(environment.name) == 4 && environment.name < 'q'",
        "resources.all(r, r.known) && resources.exists(r, r.kind == 'file') && resources.exists_one(r, r.known)",
        "resources.filter(r, r.known).map(r, r.name) == ['a.conf'] && size(resources) == 1",
        "has(resources[0].name) && !has(resources[0].nothing) && 'name' in resources[0]",
        "now > timestamp('2026-01-01T00:00:00Z') && now - duration('36h') < now",
        "now.getFullYear() == 2026 && now.getMonth() == 10 && now.getDayOfWeek('Europe/Berlin') == 6",
        "now.getHours('Europe/Berlin') == 23 && now.getMinutes() == 30 && duration('90m').getHours() == 1",
    ],
)
def test_what_rules_are_written_with_holds_on_facts(cell, source):
    """Logic, comparisons, texts, macros and times, which the vectors at hand leave out."""
    assert cell.evaluate([source], SAMPLE) == [ExpressionResult(True)]

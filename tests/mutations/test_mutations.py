"""Without any one of lock, digest comparison, distinct people and deny by default, the suite is red.

The essential mutants run here, each on the database that it belongs to; `python -m tests.mutations` runs all.
"""

from pathlib import Path

import pytest

from tests.conftest import VENDOR
from tests.mutations.check import REPO, Moved, a_copy, mutated, run, without
from tests.mutations.mutants import MUTANTS, Mutant

LAWS = {"lock", "digest", "distinct people", "deny by default", "signature"}
HERE = [m for m in MUTANTS if m.essential and m.database == VENDOR]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_copy(tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_takes_away_is_still_there(mutant):
    assert mutated((REPO / mutant.path).read_text(), mutant) != (REPO / mutant.path).read_text()
    assert all((REPO / test.split("::")[0]).is_file() for test in mutant.tests)


def test_a_mutant_of_what_is_no_longer_there_says_so():
    with pytest.raises(Moved, match="holds 0 times"):
        mutated("nothing", MUTANTS[0])


def test_every_law_of_the_gate_has_an_essential_mutant():
    assert {mutant.law for mutant in MUTANTS if mutant.essential} == LAWS


@pytest.mark.timeout(600)
def test_the_copy_is_green_as_it_is(tree):
    ran = run(tree, sorted({test for mutant in HERE for test in mutant.tests}), VENDOR)
    assert ran.is_green, ran.output


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", HERE, ids=lambda mutant: mutant.name)
def test_without_it_the_tests_are_red(tree, mutant: Mutant):
    with without(tree, mutant):
        ran = run(tree, mutant.tests, mutant.database)
    assert not ran.is_green, f"nothing noticed: {mutant.name}"
    assert ran.failed()

"""Without any one of lock, digest comparison, distinct people and deny by default, the suite is red.

That each mutant still finds what it takes away is looked at with every run; the mutants themselves, which each run
tests of a copy, belong to `make test-all`, each on the database that it is for.
"""

import ast
from pathlib import Path

import pytest

from tests.conftest import VENDOR
from tests.mutations.check import REPO, a_copy, run, source_of, without
from tests.mutations.mutants import MUTANTS, Mutant
from tests.mutations.replace import Moved, mutated

LAWS = {"lock", "digest", "distinct people", "deny by default", "signature"}
HERE = [m for m in MUTANTS if m.database == VENDOR]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_copy(tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_takes_away_is_still_there(mutant):
    source = source_of(REPO, mutant).read_text()
    without_it = mutated(source, mutant)
    compile(without_it, mutant.module, "exec")
    assert without_it != ast.unparse(ast.parse(source))
    assert all((REPO / test.split("::")[0]).exists() for test in mutant.tests)


def mutant_of(symbol: str, old: str, new: str, **more: bool) -> Mutant:
    return Mutant("a test", "lock", f"module:{symbol}", old, new, (), **more)


def test_what_stands_there_is_found_by_its_structure_and_keeps_what_it_is_made_of():
    source = "class A:\n    def f(self, x):\n        return (self.a(x)  # why\n                and x != 1)\n"
    assert "return self.a(x)\n" in mutated(source, mutant_of("A.f", "_1 and _2 != 1", "_1")) + "\n"
    assert "return None" in mutated(source, mutant_of("A.f", "", "None"))


def test_a_placeholder_stands_for_one_thing():
    assert "g(a)" in mutated("def f(): return a + a", mutant_of("f", "_1 + _1", "g(_1)"))
    with pytest.raises(Moved):
        mutated("def f(): return a + b", mutant_of("f", "_1 + _1", "g(_1)"))


def test_a_part_of_a_text_is_replaced_where_it_stands_once():
    assert mutated("SQL = 'a = 1'", mutant_of("SQL", "=", "<", in_text=True)) == "SQL = 'a < 1'"


@pytest.mark.parametrize(("symbol", "old"), [("g", "_1 + 1"), ("f", "_1 + 2"), ("f.x", "_1 + 1"), ("f", "x")], ids=str)
def test_a_mutant_of_what_is_not_there_once_says_so(symbol, old):
    with pytest.raises(Moved, match=r"defines|holds"):
        mutated("def f(x):\n    return (x + 1, x)", mutant_of(symbol, old, "0"))


def test_every_law_of_the_gate_has_a_mutant():
    assert {mutant.law for mutant in MUTANTS} >= LAWS


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_copy_is_green_as_it_is(tree):
    ran = run(tree, sorted({test for mutant in HERE for test in mutant.tests}), VENDOR)
    assert ran.is_green, ran.output


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", HERE, ids=lambda mutant: mutant.name)
def test_without_it_the_tests_are_red(tree, mutant: Mutant):
    with without(tree, mutant):
        ran = run(tree, mutant.tests, mutant.database)
    assert not ran.is_green, f"nothing noticed: {mutant.name}"
    assert ran.failed()

"""Take one safeguard out of a copy of the tree, run the tests that must notice, put it back."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutations.mutants import Mutant
from tests.mutations.replace import mutated
from tests.support.vectors import ROOT as VECTORS

REPO = Path(__file__).resolve().parents[2]
LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", "node_modules", ".*_cache", ".hypothesis")
MOST_S = 600
GREEN, RED = 0, 1
"""What pytest exits with if all passed, and if tests failed; anything else means that they did not run."""


class DidNotRun(Exception):
    """The tests ended in another way than passing or failing."""


@dataclass(frozen=True)
class Ran:
    code: int
    output: str

    @property
    def is_green(self) -> bool:
        return self.code == GREEN

    def failed(self) -> list[str]:
        """The first line of each failure."""
        return [line for line in self.output.splitlines() if line.startswith("FAILED ")]


def a_copy(directory: Path) -> Path:
    """A copy of the tree, without what is not source."""
    return Path(shutil.copytree(REPO, directory / "tree", ignore=LEFT_BEHIND, symlinks=True))


def source_of(tree: Path, mutant: Mutant) -> Path:
    """The file of a mutant's module."""
    found = tree.joinpath(*mutant.module.split("."))
    return found / "__init__.py" if found.is_dir() else found.with_suffix(".py")


@contextmanager
def without(tree: Path, mutant: Mutant) -> Iterator[None]:
    """The tree as it would be without the safeguard. Raises Moved."""
    path = source_of(tree, mutant)
    source = path.read_text()
    _write(path, mutated(source, mutant))
    try:
        yield
    finally:
        _write(path, source)


def run(tree: Path, tests: Iterable[str], database: str) -> Ran:
    """Run these tests of a tree, up to the first failure. Raises DidNotRun."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *tests]
    ours = ("PYTEST_", "INTERLOCK_", "DJANGO_", "DATABASE_", "REDIS_", "CELERY_")  # where this runs as a test itself
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    kept |= {k: v for k, v in os.environ.items() if k in ("INTERLOCK_TEST_PG_URL",)}
    environment = {**kept, "INTERLOCK_TEST_DB": database, "INTERLOCK_VECTORS": str(VECTORS), "PYTHONPATH": str(tree)}
    ran = subprocess.run(
        command, cwd=tree, env=environment, text=True, capture_output=True, timeout=MOST_S, stdin=subprocess.DEVNULL
    )
    if ran.returncode not in (GREEN, RED):
        raise DidNotRun(f"pytest ended with {ran.returncode}:\n{ran.stdout[-3000:]}\n{ran.stderr[-1000:]}")
    return Ran(ran.returncode, ran.stdout)


def _write(path: Path, source: str) -> None:
    """Write a module, and forget its compiled form: it is told apart by whole seconds and size only."""
    path.write_text(source)
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()

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
from tests.support.vectors import ROOT as VECTORS

REPO = Path(__file__).resolve().parents[2]
LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", "node_modules", ".*_cache", ".hypothesis")
MOST_S = 600
GREEN, RED = 0, 1
"""What pytest exits with if all passed, and if tests failed; anything else means that they did not run."""


class Moved(Exception):
    """The source no longer holds, exactly once, what a mutant replaces: look at the mutant again."""


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


def mutated(source: str, mutant: Mutant) -> str:
    """The source without the safeguard. Raises Moved."""
    if source.count(mutant.old) != 1:
        found = source.count(mutant.old)
        raise Moved(f"{mutant.path} holds {found} times what “{mutant.name}” replaces: {mutant.old!r}")
    return source.replace(mutant.old, mutant.new)


@contextmanager
def without(tree: Path, mutant: Mutant) -> Iterator[None]:
    """The tree as it would be without the safeguard. Raises Moved."""
    path = tree / mutant.path
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

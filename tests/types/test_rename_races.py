"""Somebody swaps a directory for a link out of the root while we work: we are refused or see our own, never theirs."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actions.types.conformance import ExecutorCase, target
from actions.types.modify_files import ModifyFiles, plan
from actions.types.shared.safe_path import Unreachable, open_root
from tests.types.trees import create, delete, modify

SECONDS = float(os.environ.get("INTERLOCK_RACE_S", "4"))  # the long random runs set minutes

SWAPPER = """
import ctypes, sys
libc, one, two = ctypes.CDLL(None), sys.argv[1].encode(), sys.argv[2].encode()
print("swapping", flush=True)
while True:
    libc.renameat2(-100, one, -100, two, 2)  # RENAME_EXCHANGE: both names always exist
"""


@contextmanager
def swapping(one: Path, two: Path) -> Iterator[None]:
    """Exchange two names as fast as possible, in a process of its own."""
    swapper = subprocess.Popen([sys.executable, "-S", "-c", SWAPPER, str(one), str(two)], stdout=subprocess.PIPE)
    try:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        yield
    finally:
        swapper.kill()
        swapper.communicate()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """root/etc/app.yaml is ours; root/trap links to outside, where their app.yaml is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/app.yaml").write_text("theirs\n")
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/app.yaml").write_text("ours\n")
    (tmp_path / "root/trap").symlink_to(tmp_path / "outside")
    return tmp_path / "root"


def untouched(root: Path) -> bool:
    outside = root.parent / "outside"
    return [p.name for p in outside.iterdir()] == ["app.yaml"] and (outside / "app.yaml").read_text() == "theirs\n"


def race(root: Path, iterations: int, seconds: float) -> Counter[str]:
    """Look, then plan and write, up to so many times; return how often each thing happened."""
    seen: Counter[str] = Counter()
    until = time.monotonic() + seconds
    with swapping(root / "etc", root / "trap"), open_root(root) as fd:
        for n in range(iterations):
            if time.monotonic() > until:
                break
            try:
                found = plan.inspect_target(fd, "etc/app.yaml").seen
                assert found is not None
                assert found.data.startswith(b"ours"), found.data
                seen["seen"] += 1
            except Unreachable as exc:
                assert exc.code in ("symlink", "unstable"), exc
                seen["refused"] += 1
            if n % 20 == 0:
                seen[write(root, n)] += 1
    return seen


def write(root: Path, n: int) -> str:
    """Create, modify or delete below the name that is being swapped; every refusal must be a clean one."""
    new, old = f"etc/new-{n}.txt", f"etc/new-{n - 40}.txt"
    change = (create(new, "ours"), modify("etc/app.yaml", f"ours {n}\n"), delete(old))
    case = ExecutorCase(ModifyFiles(), target(root), {"changes": [change[n // 20 % 3]]})
    try:
        draft = case.plan()
    except Exception as exc:
        assert type(exc).__name__ == "PlanRefused", exc
        return "plan refused"
    outcome = case.executor.apply(case.contexts(draft)[0])
    return "written" if outcome.ok else f"refused: {outcome.code}"


@pytest.mark.timeout(SECONDS + 60)
def test_a_swapped_directory_never_leads_out_of_the_root(root: Path) -> None:
    seen = race(root, int(2_500 * SECONDS), SECONDS)
    assert untouched(root), seen
    assert seen["seen"], seen
    assert seen["refused"], seen


def test_a_file_swapped_for_a_link_is_never_read_or_written_through(root: Path) -> None:
    (root / "etc/other").symlink_to(root.parent / "outside/app.yaml")
    until, seen = time.monotonic() + 2, Counter[str]()
    with swapping(root / "etc/app.yaml", root / "etc/other"), open_root(root) as fd:
        for n in range(5_000):
            if time.monotonic() > until:
                break
            try:
                found = plan.inspect_target(fd, "etc/app.yaml").seen
                assert found is not None
                assert found.data.startswith(b"ours")
                seen["seen"] += 1
            except Unreachable as exc:
                seen[exc.code] += 1
            if n % 20 == 0:
                case = ExecutorCase(ModifyFiles(), target(root), {"changes": [modify("etc/app.yaml", f"ours {n}\n")]})
                if not case.faults(case.parameters):
                    seen["tried"] += 1
    assert untouched(root), seen
    assert seen["seen"], seen
    assert seen["symlink"], seen

"""`make bench` runs to its end, on so little that its numbers mean nothing."""

import subprocess
import sys

import pytest

from tests.benchmarks.contest import REPO

TINY = ["--n", "2", "--rounds", "1", "--samples", "2"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("parts", "printed"),
    [
        pytest.param(["throughput", "--only", "interlock"], "Interlock", id="throughput"),
        pytest.param(["submission"], "Submission alone", id="submission", marks=pytest.mark.slow),
        pytest.param(["latency"], "Idle latency", id="latency", marks=pytest.mark.slow),
        pytest.param(["throughput", "--only", "dbos"], "DBOS, queued", id="dbos", marks=pytest.mark.slow),
        pytest.param(["throughput", "--only", "absurd"], "Absurd, 2 workers", id="absurd", marks=pytest.mark.slow),
    ],
)
def test_a_tiny_benchmark_runs_to_its_end(parts, printed):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *parts, *TINY], cwd=REPO, text=True, capture_output=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert printed in ran.stdout

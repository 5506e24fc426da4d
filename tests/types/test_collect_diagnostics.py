"""Diagnostics show an environment what is its own, bounded, and never a secret."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actions.types.collect_diagnostics import CollectDiagnostics
from actions.types.collect_diagnostics.executor import SECTION_LIMIT, SECTIONS, fit_to_limit
from actions.types.collect_diagnostics.sections import masked_command
from actions.types.conformance import target
from actions.types.protocol import Outcome, StepContext
from audit.log.canonical_json import canonical
from tests.types.trees import furnish

KEY = b"k" * 32
LISTENER = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return furnish(tmp_path / "root")


@pytest.fixture
def listener(root: Path) -> Iterator[tuple[int, int]]:
    """(pid, port) of a process that works below the root and was given a secret on its command line."""
    arguments = [sys.executable, "-c", LISTENER, "--db-password", "tr0ub4dor&3", "--api-key=Zm9vYmFyYmF6cXV4"]
    process = subprocess.Popen(arguments, cwd=root / "etc", stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def collect(root: Path | None, *sections: str, **settings: Any) -> dict[str, Any]:
    executor, where = CollectDiagnostics(), target(root, **settings)
    parameters = {"sections": list(sections)} if sections else {}
    facts = {}
    for step in executor.plan(parameters, where).steps:
        outcome: Outcome = executor.apply(StepContext(where, step, parameters, "key"))
        assert outcome.ok, outcome
        assert len(canonical(outcome.facts["data"])) <= SECTION_LIMIT
        facts[outcome.facts["section"]] = outcome.facts["data"]
    return facts


def test_every_section_answers_with_numbers_that_make_sense(root: Path) -> None:
    facts = collect(root)
    assert list(facts) == list(SECTIONS)
    assert facts["files"]["counts"]["files"] == 3
    assert facts["files"]["counts"]["directories"] == 1
    assert {row["path"] for row in facts["files"]["largest"]} == {"etc/app.yaml", "etc/run.sh", "old.txt"}
    assert 0 < facts["disk"]["bytes"]["free"] <= facts["disk"]["bytes"]["total"]
    assert facts["memory"]["bytes"]["total"] > 1 << 20
    assert facts["load"]["processors"] == os.cpu_count()
    assert facts["uptime"]["uptime_s"] > 0
    assert root.is_relative_to(facts["mounts"]["rows"][0]["mountpoint"])


def test_only_the_sections_asked_for_are_read_in_a_fixed_order(root: Path) -> None:
    assert list(collect(root, "load", "files")) == ["files", "load"]


def test_an_environment_without_a_root_leaves_out_what_needs_one() -> None:
    assert set(SECTIONS) - set(collect(None)) == {"files", "disk"}
    (issue,) = CollectDiagnostics().validate({"sections": ["disk"]}, target(None))
    assert "root" in issue.message


def test_an_environment_sees_its_own_processes_and_sockets_only(root: Path, listener: tuple[int, int]) -> None:
    pid, port = listener
    with socket.create_server(("127.0.0.1", 0)) as mine:
        facts = collect(root, "processes", "sockets")
        assert [row["pid"] for row in facts["processes"]["rows"]] == [pid]
        assert [(row["port"], row["pid"]) for row in facts["sockets"]["rows"]] == [(port, pid)]
        assert os.getpid() not in [row["pid"] for row in facts["processes"]["rows"]]
        ports = [row["port"] for row in collect(root, "sockets", host_facts=True)["sockets"]["rows"]]
        assert {port, mine.getsockname()[1]} <= set(ports)


def test_a_neighbour_whose_path_only_begins_alike_is_not_ours(root: Path, listener: tuple[int, int]) -> None:
    neighbour = root.with_name("roo")
    neighbour.mkdir()
    assert collect(neighbour, "processes")["processes"]["rows"] == []


def test_a_secret_on_a_command_line_is_masked(root: Path, listener: tuple[int, int]) -> None:
    facts = collect(root, "processes")
    assert "tr0ub4dor" not in repr(facts)
    assert "Zm9vYmFy" not in repr(facts)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--password", "s3same"],
        ["run", "--db-password=s3same"],
        ["run", "-token", "s3same"],
        ["env", "DB_PASSWORD=s3same", "run"],
        ["psql", "postgres://user:s3same@db/x"],
        ["curl", "-H", "Authorization: Bearer s3same-s3same-s3same"],
        ["run", "--client-secret", "s3same"],
    ],
)
def test_command_lines_hide_their_secrets(arguments: list[str]) -> None:
    shown = masked_command(arguments, KEY)
    assert "s3same" not in shown
    assert "⟦secret:" in shown


def test_harmless_command_lines_stay_readable() -> None:
    assert masked_command(["grep", "-r", "password", "."], KEY) == "grep -r password ."
    assert masked_command(["run", "--token-file", "/run/token"], KEY) == "run --token-file /run/token"
    assert masked_command(["run", "--password", "--verbose"], KEY) == "run --password --verbose"


def test_links_are_counted_and_not_followed_and_odd_names_are_shown(root: Path) -> None:
    (root / "loop").symlink_to("..")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"bad\xff.txt")).write_bytes(b"x" * 9000)
    files = collect(root, "files")["files"]
    assert files["counts"]["links"] == 1
    assert files["counts"]["others"] == 1
    assert files["largest"][0] == {"path": "bad\\xff.txt", "bytes": 9000}


def test_more_than_fits_is_cut_and_said() -> None:
    rows = [{"pid": n, "command": "x" * 100} for n in range(1_000)]
    cut = fit_to_limit({"scope": "host", "rows": rows})
    assert len(canonical(cut)) <= SECTION_LIMIT
    assert cut["left_off"] + len(cut["rows"]) == 1_000
    assert cut["rows"] == rows[: len(cut["rows"])]

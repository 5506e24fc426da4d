"""The checks of an action: what must hold before it counts as completed."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from actions.types.conformance import target
from actions.types.shared.checks import check_schema, run_checks, validate_checks
from tests.types.services import Service
from tests.types.trees import furnish

service = Service()
setup_module = service.start
teardown_module = service.stop


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return furnish(tmp_path)


def run(root: Path, *checks: dict[str, Any], **settings: Any) -> list[bool]:
    assert jsonschema_rs.validator_for(check_schema).is_valid(list(checks)), checks
    rows = run_checks(list(checks), target(root, allow_private_targets=True, **settings))
    assert all(row.keys() == {"name", "kind", "ok", "detail", "duration_ms", "facts"} for row in rows)
    assert all(isinstance(row["duration_ms"], int) and row["detail"] for row in rows)
    return [row["ok"] for row in rows]


def test_services_are_asked_for_real(root: Path) -> None:
    assert run(
        root,
        {"kind": "http", "url": service.url("/"), "body_contains": "well"},
        {"kind": "http", "url": service.url("/down")},
        {"kind": "http", "url": service.url("/down"), "expected_status": [503]},
        {"kind": "tcp", "host": "127.0.0.1", "port": service.port, "name": "shop is up"},
    ) == [True, False, True, True]


def test_files_are_compared_by_digest_existence_and_content(root: Path) -> None:
    digest = hashlib.sha256((root / "old.txt").read_bytes()).hexdigest()
    assert run(
        root,
        {"kind": "file", "path": "old.txt", "sha256": digest},
        {"kind": "file", "path": "old.txt", "sha256": "0" * 64},
        {"kind": "file", "path": "etc/app.yaml", "contains": "replicas: 2"},
        {"kind": "file", "path": "etc/app.yaml", "contains": "replicas: 3"},
        {"kind": "file", "path": "old.txt", "exists": True},
        {"kind": "file", "path": "old.txt", "exists": False},
        {"kind": "file", "path": "no/such.txt", "exists": False},
        {"kind": "file", "path": "no/such.txt", "contains": "x"},
    ) == [True, False, True, False, True, False, True, False]


def test_a_file_check_follows_no_link_and_blocks_on_no_pipe(root: Path) -> None:
    (root / "link").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe")
    for path in ("link", "pipe", "etc"):
        for exists in (True, False):
            assert run(root, {"kind": "file", "path": path, "exists": exists}) == [False]


def test_a_detail_never_tells_what_a_file_or_a_body_holds(root: Path) -> None:
    rows = run_checks(
        [
            {"kind": "file", "path": "etc/app.yaml", "contains": "nope"},
            {"kind": "http", "url": service.url("/?key=hidden"), "body_contains": "nope"},
        ],
        target(root, allow_private_targets=True),
    )
    assert [row["ok"] for row in rows] == [False, False]
    for word in ("hunter2", "all is well", "hidden"):
        assert word not in repr(rows)


def test_a_check_is_tried_again_until_it_holds(root: Path) -> None:
    before = service.connections
    assert run(root, {"kind": "http", "url": service.url("/down"), "tries": 3, "interval_s": 0}) == [False]
    assert service.connections == before + 3
    assert run(root, {"kind": "http", "url": service.url("/"), "tries": 3, "interval_s": 60}) == [True]
    assert service.connections == before + 4


def test_where_an_environment_may_not_look_a_check_does_not_hold(root: Path) -> None:
    before = service.connections
    (row,) = run_checks([{"kind": "http", "url": service.url("/"), "tries": 5}], target(root))
    assert (row["ok"], row["facts"]["code"]) == (False, "address_refused")
    assert service.connections == before


def test_nothing_is_started_past_the_deadline_and_nothing_ever_raises(root: Path) -> None:
    before = service.connections
    checks = [{"kind": "http", "url": service.url("/")}, {"kind": "nonsense"}, {}, {"kind": "file"}]
    rows = run_checks(checks, target(root, allow_private_targets=True), deadline=time.monotonic() - 1)
    assert [row["ok"] for row in rows] == [False] * 4
    assert service.connections == before
    assert run_checks([], target(root)) == []


def test_what_no_schema_sees_is_found_at_intake_by_field(root: Path) -> None:
    checks: list[dict[str, Any]] = [
        {"kind": "http", "url": "http://u:p@example.com/"},
        {"kind": "file", "path": "../x", "exists": True},
        {"kind": "file", "path": "x", "exists": False, "sha256": "0" * 64},
        {"kind": "tcp", "host": "http://x", "port": 1},
    ]
    fields = [issue.field for issue in validate_checks(checks, target(root))]
    assert fields == ["checks.0.url", "checks.1.path", "checks.2.exists", "checks.3.host"]
    assert "no root" in validate_checks([{"kind": "file", "path": "x", "exists": True}], target(None))[0].message


@pytest.mark.parametrize(
    "check",
    [
        {},
        {"kind": "shell", "command": "true"},
        {"kind": "http"},
        {"kind": "http", "url": "http://x.example/", "host": "x"},
        {"kind": "tcp", "host": "x"},
        {"kind": "tcp", "host": "x", "port": 0},
        {"kind": "file", "path": "x"},
        {"kind": "file", "path": "x", "sha256": "ABC"},
        {"kind": "http", "url": "http://x.example/", "tries": 1000},
    ],
)
def test_the_schema_refuses_what_is_no_check(check: dict[str, Any]) -> None:
    assert not jsonschema_rs.validator_for(check_schema).is_valid([check])

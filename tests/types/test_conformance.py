"""Every executor that Interlock brings, and the one its tests use, keeps the rules that bind third-party authors."""

from pathlib import Path

from actions.types.collect_diagnostics import CollectDiagnostics
from actions.types.conformance import ExecutorCase, ExecutorConformance, target
from actions.types.modify_files import ModifyFiles
from actions.types.rerun_healthcheck.executor import RerunHealthcheck
from tests.support.ledger_executor import LedgerExecutor, balance, read_ledger
from tests.types.services import Service
from tests.types.trees import APP, SECRET, create, delete, furnish, modify, snapshot


class TestModifyFiles(ExecutorConformance):
    def make(self, root: Path) -> ExecutorCase:
        furnish(root)
        return ExecutorCase(
            ModifyFiles(),
            target(root),
            {
                "changes": [
                    modify("etc/app.yaml", APP.replace("replicas: 2", "replicas: 3")),
                    create("srv/new/a.txt"),
                    create("srv/new/b.txt", "b"),
                    delete("old.txt"),
                    modify("etc/run.sh", "#!/bin/sh\necho bye"),
                ]
            },
            snapshot=lambda: snapshot(root),
            tamper=lambda: (root / "etc/app.yaml").write_text("somebody else was here\n"),
            bad=[
                ({}, ""),
                ({"changes": []}, "changes"),
                ({"changes": [modify("../etc/passwd")]}, "changes.0.path"),
                ({"changes": [create("a"), {"path": "b", "operation": "chmod"}]}, "changes.1.operation"),
                ({"changes": [create("a"), modify("nothing.txt")]}, "changes.1.path"),
                ({"changes": [create("old.txt")]}, "changes.0.path"),
                ({"changes": [create("x", "{{secret:db}}")]}, "changes.0.content"),
            ],
            secret=SECRET,
        )


class TestCollectDiagnostics(ExecutorConformance):
    def make(self, root: Path) -> ExecutorCase:
        furnish(root)
        return ExecutorCase(
            CollectDiagnostics(),
            target(root),
            {},
            snapshot=lambda: snapshot(root),
            bad=[({"sections": ["registry"]}, "sections.0"), ({"sections": []}, "sections")],
        )


class TestRerunHealthcheck(ExecutorConformance):
    def make(self, root: Path) -> ExecutorCase:
        return ExecutorCase(
            RerunHealthcheck(),
            target(root, allow_private_targets=True, healthchecks={"shop": {"url": service.url("/"), "timeout_s": 5}}),
            {"check": "shop", "repeat": 2, "interval_s": 0},
            snapshot=lambda: snapshot(root),
            bad=[
                ({}, ""),
                ({"check": "nope"}, "check"),
                ({"url": "ftp://example.com/"}, "url"),
                ({"url": "http://user:pw@example.com/"}, "url"),
                ({"host": "a b", "port": 80}, "host"),
                ({"url": "http://example.com/", "method": "HEAD", "body_contains": "ok"}, "body_contains"),
                ({"check": "shop", "method": "HEAD"}, "method"),
            ],
        )


class TestLedger(ExecutorConformance):
    def make(self, root: Path) -> ExecutorCase:
        return ExecutorCase(
            LedgerExecutor(),
            target(root),
            {"steps": 3},
            snapshot=lambda: balance(root / ".ledger"),
            effects=lambda: len(read_ledger(root / ".ledger")),
            bad=[({"steps": 0}, "steps"), ({"fail_at": 9}, "fail_at")],
        )


service = Service()
setup_module = service.start
teardown_module = service.stop

"""How modify_files writes: one rename per path, modes and owners kept, nothing overwritten, restored to the byte."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions.types.conformance import ExecutorCase, target
from actions.types.modify_files import ModifyFiles, apply
from actions.types.protocol import Outcome, Probe
from actions.types.shared.safe_path import open_root
from tests.support.watcher import Watcher
from tests.types.trees import create, delete, furnish, modify, snapshot

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return furnish(tmp_path / "root")


def case_of(root: Path, *changes: dict[str, str]) -> ExecutorCase:
    return ExecutorCase(ModifyFiles(), target(root), {"changes": list(changes)}, snapshot=lambda: snapshot(root))


def test_a_watcher_sees_exactly_one_rename_per_path_and_no_write_in_place(root: Path) -> None:
    case = case_of(root, modify("etc/app.yaml"), create("etc/new.txt"), delete("old.txt"))
    draft = case.plan()
    with Watcher(root) as seen:
        case.run(draft)
        case.run(draft)
    assert dict(seen.renamed) == {"etc/app.yaml": 1, "etc/new.txt": 1}
    assert dict(seen.deleted) == {"old.txt": 1}
    assert all(Path(path).name.startswith(".interlock-") for path in (*seen.created, *seen.written))


def test_mode_owner_and_extended_attributes_are_kept(root: Path) -> None:
    script = root / "etc/run.sh"
    os.setxattr(script, "user.reviewed", b"yes")
    if AS_ROOT:
        os.chown(script, 1234, 5678)
    script.chmod(0o4751)
    before = snapshot(root)
    case = case_of(root, modify("etc/run.sh", "#!/bin/sh\n"))
    draft = case.plan()
    case.run(draft)
    found = script.stat()
    assert stat.S_IMODE(found.st_mode) == 0o4751
    assert not AS_ROOT or (found.st_uid, found.st_gid) == (1234, 5678)
    assert os.getxattr(script, "user.reviewed") == b"yes"
    case.undo(draft)
    assert snapshot(root) == before
    assert os.getxattr(script, "user.reviewed") == b"yes"


def test_a_deleted_file_comes_back_with_bytes_mode_and_owner(root: Path) -> None:
    if AS_ROOT:
        os.chown(root / "etc/app.yaml", 1234, 5678)
    before = snapshot(root)
    case = case_of(root, delete("etc/app.yaml"))
    draft = case.plan()
    case.run(draft)
    assert not (root / "etc/app.yaml").exists()
    case.undo(draft)
    assert snapshot(root) == before
    assert draft.compensations[0]["kind"] == "reversible"


def test_attributes_that_cannot_come_back_make_the_undo_of_a_deletion_lossy(root: Path) -> None:
    os.setxattr(root / "old.txt", "user.reviewed", b"yes")
    (compensation,) = case_of(root, delete("old.txt")).plan().compensations
    assert (compensation["kind"], "user.reviewed" in compensation["title"]) == ("lossy", True)


def test_a_new_file_is_0644_whatever_the_umask_and_its_directories_go_with_it(root: Path) -> None:
    before = snapshot(root)
    case = case_of(root, create("a/b/c.txt"), create("a/d.txt"))
    draft = case.plan()
    assert draft.steps[0]["spec"]["make"] == ["a", "a/b"]
    old = os.umask(0o077)
    try:
        case.run(draft)
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "a/b/c.txt").stat().st_mode) == 0o644
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755
    case.undo(draft)
    assert snapshot(root) == before


def test_directories_that_others_use_by_now_stay_when_a_creation_is_undone(root: Path) -> None:
    case = case_of(root, create("a/b/c.txt"))
    draft = case.plan()
    case.run(draft)
    (root / "a/theirs.txt").write_text("theirs")
    case.undo(draft)
    assert sorted(str(p.relative_to(root)) for p in (root / "a").rglob("*")) == ["a/theirs.txt"]


def test_a_file_that_appeared_meanwhile_is_never_overwritten(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(root, create("new.txt", "ours"))
    (ctx,) = case.contexts(case.plan())
    looked = apply._require_state

    def then_somebody_creates_it(*args: Any) -> None:
        looked(*args)
        (root / "new.txt").write_text("theirs")

    monkeypatch.setattr(apply, "_require_state", then_somebody_creates_it)
    outcome = case.executor.apply(ctx)
    assert (outcome.ok, outcome.code) == (False, "precondition")
    assert (root / "new.txt").read_text() == "theirs"
    assert no_leftovers(root)


def test_without_renameat2_a_new_file_still_never_overwrites(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "_renameat2", None)
    case = case_of(root, create("new.txt", "ours"))
    draft = case.plan()
    case.run(draft)
    assert (root / "new.txt").stat().st_nlink == 1
    case.undo(draft)
    (root / "new.txt").write_text("theirs")
    assert case.executor.apply(case.contexts(draft)[0]).code == "precondition"
    assert (root / "new.txt").read_text() == "theirs"
    with open_root(root) as fd, pytest.raises(apply.WriteRefused):
        (root / "tmp").write_text("x")
        apply.rename_new(fd, "tmp", "new.txt", "new.txt")


def swap_for_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("app.yaml")


def swap_for_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


STALE: dict[str, Callable[[Path], object]] = {
    "content": lambda path: path.write_text("theirs"),
    "mode": lambda path: path.chmod(0o600),
    "gone": lambda path: path.unlink(),
    "link": swap_for_a_link,
    "hard link": lambda path: os.link(path, path.with_name("second")),
    "directory": swap_for_a_directory,
}


@pytest.mark.parametrize("what", STALE)
@pytest.mark.parametrize("change", [modify, delete])
def test_a_file_that_moved_on_since_the_plan_is_not_touched(root: Path, what: str, change: Any) -> None:
    case = case_of(root, change("etc/run.sh"))
    (ctx,) = case.contexts(case.plan())
    STALE[what](root / "etc/run.sh")
    before = snapshot(root)
    outcome = case.executor.apply(ctx)
    if change is delete and what == "gone":
        assert outcome.ok  # nothing left to do
    else:
        assert not outcome.ok
        assert outcome.message
    assert snapshot(root) == before


def test_a_change_between_the_look_and_the_rename_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(root, modify("etc/run.sh"))
    (ctx,) = case.contexts(case.plan())
    written = apply._write_temporary

    def slow_write(*args: Any) -> None:
        written(*args)
        (root / "etc/run.sh").write_text("theirs")

    monkeypatch.setattr(apply, "_write_temporary", slow_write)
    assert case.executor.apply(ctx).code == "precondition"
    assert (root / "etc/run.sh").read_text() == "theirs"
    assert no_leftovers(root)


def test_a_leftover_of_a_killed_attempt_is_removed_by_the_next(root: Path) -> None:
    case = case_of(root, modify("etc/run.sh"), create("new.txt"))
    contexts = case.contexts(case.plan())
    for ctx, directory in zip(contexts, ("etc", "."), strict=True):
        (root / directory / apply.temporary_name(ctx.idempotency_key)).write_text("half wri")
    assert all(case.executor.probe(ctx) == Probe.NOT_DONE for ctx in contexts)
    case.run(case.plan())
    assert no_leftovers(root)


def test_an_undo_half_done_is_finished(root: Path) -> None:
    before = snapshot(root)
    case = case_of(root, create("a/b/c.txt"))
    draft = case.plan()
    case.run(draft)
    (ctx,) = case.contexts(draft)
    (root / "a/b/c.txt").unlink()
    assert case.executor.probe_undo(ctx) == Probe.NOT_DONE
    case.undo(draft)
    assert case.executor.probe_undo(ctx) == Probe.DONE
    assert snapshot(root) == before


@pytest.mark.parametrize("failing", ["fsync", "rename", "fchmod"])
def test_an_error_of_the_disk_is_told_and_leaves_the_file_as_it_was(
    root: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(root, modify("etc/run.sh"))
    (ctx,) = case.contexts(case.plan())
    before = snapshot(root)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, failing, fail)
        outcome = case.executor.apply(ctx)
    assert (outcome.ok, outcome.code, outcome.retryable) == (False, "io", True)
    assert "No space left" in outcome.message
    assert snapshot(root) == before
    assert case.executor.apply(ctx).ok


def test_parameters_that_are_not_the_planned_ones_write_nothing(root: Path) -> None:
    case = case_of(root, modify("etc/run.sh", "planned"))
    (ctx,) = case.contexts(case.plan())
    ctx.parameters = {"changes": [modify("etc/run.sh", "swapped")]}
    before = snapshot(root)
    assert case.executor.apply(ctx).code == "content"
    assert snapshot(root) == before


def test_an_undo_without_its_before_image_says_so_and_writes_nothing(root: Path) -> None:
    case = case_of(root, modify("etc/run.sh"))
    draft = case.plan()
    case.run(draft)
    (ctx,) = case.contexts(draft)
    ctx.before_image = lambda: None
    after = snapshot(root)
    outcome: Outcome = case.executor.compensate(ctx)
    assert (outcome.ok, outcome.code) == (False, "no_image")
    assert snapshot(root) == after


def test_a_worker_that_may_not_write_is_told_at_planning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *args, **kwargs: False)
    (issue,) = case_of(root).executor.validate({"changes": [create("etc/new/x.txt")]}, target(root))
    assert "may not write in etc" in issue.message


def test_a_file_of_another_owner_is_refused_when_its_owner_could_not_be_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4242)
    (issue,) = case_of(root).executor.validate({"changes": [modify("old.txt")]}, target(root))
    assert "belongs to user id" in issue.message


def no_leftovers(root: Path) -> bool:
    return not list(root.rglob(".interlock-*"))

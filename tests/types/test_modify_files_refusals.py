"""What modify_files refuses: each with a field, words that say what to do, and nothing touched."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from actions.types.conformance import target
from actions.types.modify_files import ModifyFiles
from actions.types.modify_files.schema import CHANGES_LIMIT, FILE_LIMIT, TOTAL_LIMIT
from actions.types.protocol import Issue, PlanRefused
from tests.types.trees import create, delete, furnish, modify, snapshot

executor = ModifyFiles()
Change = dict[str, str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/victim.txt").write_text("keep me\n")
    (tmp_path / "root").mkdir()
    return furnish(tmp_path / "root")


def refusals(root: Path, *changes: Change) -> list[Issue]:
    """The errors, which validate and plan must agree on, after making sure that nothing was touched."""
    before = snapshot(root.parent)
    found = executor.validate({"changes": list(changes)}, target(root))
    issues = [issue for issue in found if issue.severity == "error"]
    if issues:
        with pytest.raises(PlanRefused) as refused:
            executor.plan({"changes": list(changes)}, target(root))
        assert refused.value.issues == issues or {i.field for i in refused.value.issues} <= {i.field for i in issues}
    assert snapshot(root.parent) == before
    return issues


BAD_PATHS = {
    "../outside/victim.txt": "..",
    "etc/../../outside/victim.txt": "..",
    "/etc/passwd": "absolute",
    "//etc/passwd": "absolute",
    "etc//app.yaml": "empty",
    "./old.txt": "'.'",
    "etc/": "trailing",
    "etc\\app.yaml": "backslash",
    "etc/app\0.yaml": "control",
    "etc/app\n.yaml": "control",
    "etc/\u202egnp.exe": "invisible",
    "etc/a\u200bb": "invisible",
    "etc/\ud800": "unpaired",
    "x" * 256: "longer than 255",
    "a/" * 600 + "b": "longer than 1024",
    ".interlock-0123.tmp": "reserved",
    "etc/.interlock-x/file": "reserved",
}


@pytest.mark.parametrize(("path", "word"), BAD_PATHS.items(), ids=range(len(BAD_PATHS)))
@pytest.mark.parametrize("change", [create, modify, delete])
def test_a_path_that_is_not_plainly_below_the_root_is_refused(
    root: Path, path: str, word: str, change: Callable[[str], Change]
) -> None:
    (issue,) = refusals(root, change(path))
    assert issue.field == "changes.0.path"
    assert word in issue.message


def test_a_symbolic_link_is_refused_wherever_it_stands_in_the_path(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    (root / "inner").symlink_to("etc")
    (root / "etc/file-link").symlink_to("../../outside/victim.txt")
    (root / "dangling").symlink_to("/nowhere")
    for path in ("link/victim.txt", "inner/app.yaml", "etc/file-link", "dangling", "link/deep/er/new.txt"):
        for change in (create, modify, delete):
            (issue,) = refusals(root, change(path))
            assert "symbolic link" in issue.message, (path, issue)
    assert (root.parent / "outside/victim.txt").read_text() == "keep me\n"


def test_special_files_are_refused_unopened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / "socket"))
    if os.geteuid() == 0:
        os.mknod(root / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    for path in ("pipe", "socket", *(["device"] if os.geteuid() == 0 else [])):
        (issue,) = refusals(root, modify(path))
        assert "device, socket or pipe" in issue.message
    listener.close()
    assert "directory" in refusals(root, modify("etc"))[0].message
    assert "is a file" in refusals(root, create("old.txt/below"))[0].message


def test_a_file_with_hard_links_is_refused(root: Path) -> None:
    os.link(root.parent / "outside/victim.txt", root / "hard.txt")
    for change in (modify, delete):
        assert "hard links" in refusals(root, change("hard.txt"))[0].message


def test_content_that_is_no_text_is_refused_on_both_sides(root: Path) -> None:
    (root / "latin1.txt").write_bytes("Grüße".encode("latin-1"))
    (root / "binary").write_bytes(b"a\0b")
    for path in ("latin1.txt", "binary"):
        for change in (modify, delete):
            assert "not UTF-8" in refusals(root, change(path))[0].message
    assert "surrogate" in refusals(root, create("a", "x\udc80"))[0].message
    (issue,) = refusals(root, create("a", "x\0y"))
    assert (issue.field, "NUL" in issue.message) == ("changes.0.content", True)


def test_what_is_too_large_is_refused(root: Path) -> None:
    (root / "big.txt").write_bytes(b"x" * (FILE_LIMIT + 1))
    assert str(FILE_LIMIT) in refusals(root, modify("big.txt"))[0].message
    assert refusals(root, create("a", "ü" * (FILE_LIMIT // 2 + 1)))[0].field == "changes.0.content"
    many = [create(f"f{n}", "x" * (TOTAL_LIMIT // 6 + 1)) for n in range(6)]
    assert [issue.field for issue in refusals(root, *many)] == ["changes"]
    crowd = [create(f"f{n}") for n in range(CHANGES_LIMIT + 1)]
    assert "Split" in refusals(root, *crowd)[0].message
    assert refusals(root, create("exactly", "x" * FILE_LIMIT)) == []


def test_paths_that_contradict_one_another_are_refused(root: Path) -> None:
    (twice,) = refusals(root, modify("old.txt"), delete("old.txt"))
    assert twice.field == "changes.1.path"
    (below,) = refusals(root, create("new"), create("new/below.txt"))
    assert (below.field, "directory" in below.message) == ("changes.1.path", True)
    (deleted,) = refusals(root, create("old.txt/x"), delete("old.txt"))
    assert deleted.field == "changes.0.path"


def test_names_that_differ_only_in_case_are_allowed_with_a_warning(root: Path) -> None:
    (issue,) = executor.validate({"changes": [create("README"), create("Readme")]}, target(root))
    assert (issue.severity, issue.field) == ("warning", "changes.1.path")
    assert len(executor.plan({"changes": [create("README"), create("Readme")]}, target(root)).steps) == 2


def test_an_operation_that_does_not_fit_what_is_there_says_which_would(root: Path) -> None:
    assert "modify" in refusals(root, create("old.txt"))[0].message
    assert "create" in refusals(root, modify("new.txt"))[0].message
    assert "Leave it out" in refusals(root, delete("gone.txt"))[0].message
    assert "already has exactly" in refusals(root, modify("old.txt", "Grüße\n"))[0].message
    (issue,) = refusals(root, {"path": "new.txt", "operation": "create"})
    assert issue.field == "changes.0.content"
    (issue,) = refusals(root, {"path": "old.txt", "operation": "delete", "content": "why?"})
    assert issue.field == "changes.0.content"


def test_a_secret_by_name_is_refused_until_there_is_a_store(root: Path) -> None:
    (issue,) = refusals(root, create("a", "password: {{ secret:db }}\n"))
    assert (issue.field, "no secret store" in issue.message) == ("changes.0.content", True)


def test_every_issue_is_reported_at_once(root: Path) -> None:
    issues = refusals(root, create("../a"), modify("missing"), create("ok"), create("b", "\0"))
    assert [issue.field for issue in issues] == ["changes.0.path", "changes.3.content", "changes.1.path"]


def test_an_environment_without_a_usable_root_is_refused(root: Path) -> None:
    for bad in (None, root / "missing", root / "old.txt"):
        (issue,) = executor.validate({"changes": [create("a")]}, target(bad))
        assert "root" in issue.message
        with pytest.raises(PlanRefused):
            executor.plan({"changes": [create("a")]}, target(bad))


def test_a_plan_larger_than_the_free_space_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actions.types.modify_files.plan.read_free_bytes", lambda fd: 3)
    with pytest.raises(PlanRefused, match="free"):
        executor.plan({"changes": [create("a", "four")]}, target(root))


def test_deleting_is_high_and_many_files_are_more_than_few() -> None:
    def level(*changes: Change) -> str:
        return executor.level_of({"changes": list(changes)})

    assert level(modify("a"), create("b")) == "low"
    assert level(modify("a"), delete("b")) == "high"
    assert level(*[modify(f"f{n}") for n in range(10)]) == "low"
    assert level(*[modify(f"f{n}") for n in range(11)]) == "medium"
    assert level(*[modify(f"f{n}") for n in range(101)]) == "high"

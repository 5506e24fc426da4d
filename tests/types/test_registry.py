"""Executors are found through entry points; a broken one is named and takes no other down."""

import logging
from importlib.metadata import EntryPoint

import pytest

from actions.types import registry
from actions.types.modify_files import ModifyFiles
from tests.support.ledger_executor import LedgerExecutor


class WithoutProbe(LedgerExecutor):
    probe = None  # type: ignore[assignment]


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


def test_the_built_in_executors_are_installed_and_whole() -> None:
    assert {"modify_files", "collect_diagnostics", "rerun_healthcheck"} <= set(registry.executors())
    assert registry.broken_executors() == []
    assert isinstance(registry.get_executor("modify_files"), ModifyFiles)


def test_loading_happens_once() -> None:
    assert registry.get_executor("modify_files") is registry.get_executor("modify_files")


def test_a_broken_executor_is_named_with_its_reason_and_the_others_work(caplog: pytest.LogCaptureFixture) -> None:
    points = (
        point("modify_files", "actions.types.modify_files:ModifyFiles"),
        point("gone", "no.such.module:Thing"),
        point("half", f"{__name__}:WithoutProbe"),
        point("other_name", "tests.support.ledger_executor:LedgerExecutor"),
    )
    with caplog.at_level(logging.ERROR):
        good, bad = registry.load_all(points)
    assert list(good) == ["modify_files"]
    assert "No module named" in bad["gone"].reason
    assert "probe() is missing" in bad["half"].reason
    assert "'ledger'" in bad["other_name"].reason
    assert len(caplog.records) == 3


def test_two_packages_with_one_name_leave_neither() -> None:
    value = "actions.types.modify_files:ModifyFiles"
    good, bad = registry.load_all((point("modify_files", value), point("modify_files", value)))
    assert good == {}
    assert "another installed package" in bad["modify_files"].reason


def test_an_unknown_type_says_which_there_are() -> None:
    with pytest.raises(registry.UnknownType) as unknown:
        registry.get_executor("reboot_everything")
    assert unknown.value.status == 422
    assert "modify_files" in unknown.value.remedies[0]


def test_asking_for_a_broken_type_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        registry._registry.broken, "gone", registry.BrokenExecutor("gone", "no.such:Thing", "no module")
    )
    with pytest.raises(registry.ExecutorBroken) as broken:
        registry.get_executor("gone")
    assert broken.value.status == 503
    assert "no module" in broken.value.detail


def test_a_test_executor_is_there_for_its_block_only() -> None:
    with registry.register_executor(LedgerExecutor()) as executor:
        assert registry.get_executor("ledger") is executor
    with pytest.raises(registry.UnknownType):
        registry.get_executor("ledger")
    real = registry.get_executor("modify_files")
    with registry.register_executor(LedgerExecutor("modify_files")) as stand_in:
        assert registry.get_executor("modify_files") is stand_in
    assert registry.get_executor("modify_files") is real


def test_what_is_no_executor_cannot_be_registered() -> None:
    with pytest.raises(TypeError, match="probe"), registry.register_executor(WithoutProbe()):  # type: ignore[arg-type]
        raise AssertionError("it was registered")

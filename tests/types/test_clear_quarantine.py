"""Clearing a quarantine keeps the same promises as changing files; who keeps quarantines is a stand-in here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from actions.controls.quarantine import DatabaseQuarantineStore
from actions.types.clear_quarantine import ClearQuarantine, executor
from actions.types.clear_quarantine.executor import QuarantineRecord
from actions.types.conformance import ExecutorCase, ExecutorConformance, target
from actions.types.protocol import PlanRefused
from audit.errors import Conflict

pytestmark = pytest.mark.django_db(transaction=True)
"""The executor's own connection is closed where there is one; no row is read or written."""
ID = UUID("01930000-0000-7000-8000-000000000001")
OTHER = UUID("01930000-0000-7000-8000-000000000002")


class Shelf:
    """Quarantines in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[UUID, QuarantineRecord] = {}

    def find(self, tenant_id, quarantine_id):
        return self.kept.get(quarantine_id)

    def clear(self, tenant_id, quarantine_id, action_id, key):
        return self._set(quarantine_id, "cleared")

    def put_back(self, tenant_id, quarantine_id, action_id, key):
        return self._set(quarantine_id, "in_force")

    def _set(self, quarantine_id, standing):
        found = self.kept.get(quarantine_id)
        if found is None:
            raise Conflict("It is gone.")
        self.kept[quarantine_id] = replace(found, standing=standing)
        return found.standing != standing


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    executor.register_quarantine_store(shelf)
    yield shelf
    executor.register_quarantine_store(DatabaseQuarantineStore())


class TestClearQuarantine(ExecutorConformance):
    @pytest.fixture
    def case(self, shelf: Shelf, tmp_path: Path) -> ExecutorCase:
        place = target(tmp_path)
        shelf.kept[ID] = QuarantineRecord(
            ID, place.environment_id, "dev", "file", "app.conf", "its undo failed", "2026-01-01", "in_force"
        )
        bad = [
            ({}, ""),
            ({"quarantine": "x"}, "quarantine"),
            ({"quarantine": str(OTHER)}, "quarantine"),
            ({"quarantine": str(ID), "more": 1}, ""),
        ]
        return ExecutorCase(
            ClearQuarantine(),
            place,
            {"quarantine": str(ID)},
            snapshot=lambda: dict(shelf.kept),
            tamper=lambda: shelf.kept.pop(ID),
            bad=bad,
        )


def test_where_nobody_keeps_quarantines_none_is_cleared(shelf, tmp_path):
    executor._stores.clear()
    with pytest.raises(PlanRefused, match="No quarantine keeper"):
        ClearQuarantine().plan({"quarantine": str(ID)}, target(tmp_path))

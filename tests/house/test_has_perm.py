"""Permission is asked of `tenants.access` and nowhere else: Django's own answers let superusers do everything."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASKS = re.compile(
    r"\bhas_perms?\b|\bhas_module_perms\b|\bget_objects_for_(user|group)\b|\bpermission_required\b|\bperms\."
)
MAY_ASK = {"tenants/access.py"}


def test_nothing_but_access_and_the_admin_asks_django_for_permission():
    asking = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _product()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ASKS.search(line)
    ]
    assert not asking, "Ask tenants.access.holds or request.access.can instead."


def _product() -> list[Path]:
    floors = ("config", "actions", "approvals", "tenants", "audit")
    python = [path for floor in floors for path in (ROOT / floor).rglob("*.py")]
    files = [*python, *(ROOT / "templates").rglob("*.html")]
    return [path for path in files if not _may_ask(str(path.relative_to(ROOT)))]


def _may_ask(name: str) -> bool:
    return name in MAY_ASK or "/admin" in name or "migrations/" in name

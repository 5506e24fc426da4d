"""Conformance vectors, read where they lie: beside the repository, or where INTERLOCK_VECTORS points."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("INTERLOCK_VECTORS", Path(__file__).resolve().parents[3] / "shared" / "vectors"))


def vectors(name: str) -> Path:
    """The folder of one set. Where it is not at hand its tests are left out by name; in CI it must be there."""
    if not (ROOT / name).is_dir() and "CI" not in os.environ:
        pytest.skip(f"the vectors {name} are not at {ROOT}; set INTERLOCK_VECTORS", allow_module_level=True)
    return ROOT / name

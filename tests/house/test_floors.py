"""The floors hold: imports go down only, none of ours hides in a function, no function grows past what one reads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.shape import FLOORS, ROOT

MODULES = sorted(
    path
    for floor in FLOORS
    for path in (ROOT / floor).rglob("*.py")
    if "migrations" not in path.relative_to(ROOT).parts
)
LINES, FUNCTION_LINES = 500, 50  # hard limits; we aim at 300 and 40
REFUSED_NAMES = {"services.py", "utils.py", "helpers.py", "managers.py"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_go_down_only() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_import_of_our_own_hides_in_a_function(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    hidden = [
        f"{named(path)}:{node.lineno}"
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and floors_of(node)
    ]
    is_loaded_before_models = path.name == "apps.py"
    assert is_loaded_before_models or not hidden, f"import these at the top of the file: {hidden}"


def floors_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    is_relative = isinstance(node, ast.ImportFrom) and node.level > 0
    return [module for module in modules if is_relative or module.split(".")[0] in FLOORS]


def test_no_function_is_too_long_to_hold_in_mind() -> None:
    too_long = {
        f"{named(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    }
    assert not too_long


def test_files_are_named_after_what_they_do() -> None:
    assert not [named(path) for path in MODULES if path.name in REFUSED_NAMES]

"""Replace an expression within a symbol of a module, whatever its layout and line numbers.

The result is printed anew, without comments.
"""

import ast
import copy
import re
from typing import Any

from tests.mutations.mutants import Mutant

PLACEHOLDER = re.compile(r"_\d")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Moved(Exception):
    """The source no longer holds, exactly once, what a mutant replaces: look at the mutant again."""


def mutated(source: str, mutant: Mutant) -> str:
    """The source without the safeguard. Raises Moved."""
    module = ast.parse(source)
    symbol = _symbol(module, mutant)
    if mutant.in_text:
        _replace_text(symbol, mutant)
    elif mutant.old:
        _replace_expression(symbol, mutant)
    else:
        _replace_whole(symbol, mutant)
    return ast.unparse(ast.fix_missing_locations(module))


def _symbol(module: ast.Module, mutant: Mutant) -> ast.stmt:
    found: list[ast.stmt] = [module]  # type: ignore[list-item]
    for name in mutant.qualified_name.split("."):
        found = [child for parent in found for child in parent.body if name in _names(child)]  # type: ignore[attr-defined]
    if len(found) != 1:
        raise Moved(f"{mutant.module} defines {mutant.qualified_name} {len(found)} times, of “{mutant.name}”")
    return found[0]


def _names(statement: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _replace_whole(symbol: ast.stmt, mutant: Mutant) -> None:
    """Let a function return nothing but `new`, or a constant be it."""
    new = _expression(mutant.new)
    if isinstance(symbol, FUNCTIONS):
        symbol.body = [ast.Return(new)]
    elif isinstance(symbol, (ast.Assign, ast.AnnAssign)):
        symbol.value = new
    else:
        raise Moved(f"{mutant.symbol} is neither a function nor a constant")


def _replace_expression(symbol: ast.stmt, mutant: Mutant) -> None:
    pattern = _expression(mutant.old)
    places = [(*place, bound) for place in _places(symbol) if (bound := _match(pattern, place[2])) is not None]
    if len(places) != 1:
        raise Moved(f"{mutant.symbol} holds {len(places)} times what “{mutant.name}” replaces: {mutant.old}")
    holder, key, _, bound = places[0]
    new = _Fill(bound).visit(_expression(mutant.new))
    if isinstance(holder, list):
        holder[key] = new
    else:
        setattr(holder, key, new)


def _replace_text(symbol: ast.stmt, mutant: Mutant) -> None:
    texts = [n for n in ast.walk(symbol) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    count = sum(text.value.count(mutant.old) for text in texts)
    if count != 1:
        raise Moved(f"{mutant.symbol} holds {count} times what “{mutant.name}” replaces: {mutant.old}")
    for text in texts:
        text.value = text.value.replace(mutant.old, mutant.new)


def _places(node: ast.AST) -> list[tuple[Any, Any, ast.expr]]:
    """Where expressions stand below a node: what holds each, under which attribute or index, and the expression."""
    found: list[tuple[Any, Any, ast.expr]] = []
    for name, value in ast.iter_fields(node):
        holder, entries = (value, list(enumerate(value))) if isinstance(value, list) else (node, [(name, value)])
        for key, child in entries:
            if isinstance(child, ast.expr):
                found.append((holder, key, child))
            if isinstance(child, ast.AST):
                found += _places(child)
    return found


def _match(pattern: ast.AST, node: ast.AST) -> dict[str, ast.expr] | None:
    """What the placeholders stand for if `node` is as the pattern, otherwise None."""
    bound: dict[str, ast.expr] = {}
    return bound if _same(pattern, node, bound) else None


def _same(pattern: Any, node: Any, bound: dict[str, ast.expr]) -> bool:
    if isinstance(pattern, ast.Name) and PLACEHOLDER.fullmatch(pattern.id) and isinstance(node, ast.expr):
        return _same(bound.setdefault(pattern.id, node), node, {})
    if isinstance(pattern, list):
        return len(pattern) == len(node) and all(_same(p, n, bound) for p, n in zip(pattern, node, strict=True))
    if not isinstance(pattern, ast.AST):
        return type(pattern) is type(node) and pattern == node
    if isinstance(pattern, ast.expr_context):
        return True
    fields = (name for name in pattern._fields if name != "kind")  # `kind` is the letter before a string
    return type(pattern) is type(node) and all(_same(getattr(pattern, f), getattr(node, f), bound) for f in fields)


class _Fill(ast.NodeTransformer):
    """Put what the placeholders stand for in their place."""

    def __init__(self, bound: dict[str, ast.expr]) -> None:
        self.bound = bound

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self.bound[node.id]) if node.id in self.bound else node


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body

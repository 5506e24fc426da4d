"""The shape of the house, measured: `python -m tests.house.shape` prints it.

A room is a directory with Python modules. `__init__.py` and migrations do not count as modules. Imports are read from
the source, those for type checking included.
"""

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("config", "actions", "approvals", "tenants", "audit")

MAX_MODULES = 330
MAX_ROOT_FILES = 6
MAX_ROOM_FILES = 14
MAX_LINES = 500


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name, packages included."""
    return {dotted(path): path for path in sources()}


def sources() -> Iterator[Path]:
    """The product's Python files, relative to the repository."""
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            relative = path.relative_to(ROOT)
            if "migrations" not in relative.parts and path.stat().st_size:
                yield relative


def dotted(path: Path) -> str:
    """The module name of a path."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return (ROOT / path).read_text().count("\n")


def root_files(floor: str) -> list[Path]:
    """The modules at a floor's root, without `__init__`."""
    return [path for path in sources() if path.parent == Path(floor) and path.name != "__init__.py"]


def room_sizes() -> dict[Path, int]:
    """How many modules each room has, without `__init__`."""
    sizes: dict[Path, int] = defaultdict(int)
    for path in sources():
        if path.name != "__init__.py":
            sizes[path.parent] += 1
    return dict(sizes)


@cache
def imports() -> dict[str, set[str]]:
    """The modules of the product that each module imports anywhere, for type checking too."""
    known = modules()
    return {name: imports_of(path) & known.keys() for name, path in known.items()}


def imports_of(path: Path) -> set[str]:
    """Every module, and every name of one, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def cycles(floor: str) -> list[list[str]]:
    """The rooms of a floor that import one another in a circle. A file at the floor's root is a room of its own."""
    graph: dict[str, set[str]] = defaultdict(set)
    for name, targets in imports().items():
        for target in targets:
            rooms = [each.split(".")[1] for each in (name, target) if each.startswith(f"{floor}.")]
            if len(rooms) == 2 and rooms[0] != rooms[1]:
                graph[rooms[0]].add(rooms[1])
    return [sorted(group) for group in strongly_connected(graph) if len(group) > 1]


def strongly_connected(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of a graph, by reachability: graphs of rooms are small."""
    nodes = set(graph) | {target for targets in graph.values() for target in targets}
    reach = {node: reachable(graph, node) for node in nodes}
    groups: list[set[str]] = []
    for node in sorted(nodes):
        if not any(node in group for group in groups):
            groups.append({node} | {other for other in reach[node] if node in reach[other]})
    return groups


def rooms_of(floor: str) -> dict[str, set[str]]:
    """Which rooms of a floor a room imports, without what follows from the rest (transitive reduction)."""
    graph: dict[str, set[str]] = {}
    for name, imported in imports().items():
        parts = name.split(".")
        if parts[0] != floor or len(parts) < 2 or not is_room(floor, parts[1]):
            continue
        targets = graph.setdefault(parts[1], set())
        for target in imported:
            there = target.split(".")
            if there[0] == floor and len(there) > 1 and there[1] != parts[1] and is_room(floor, there[1]):
                targets.add(there[1])
    return {
        room: {t for t in targets if not any(t in reachable(graph, other) for other in targets - {t})}
        for room, targets in graph.items()
    }


def is_room(floor: str, name: str) -> bool:
    """Whether a name is a directory of a floor that the picture shows."""
    return (ROOT / floor / name).is_dir() and name not in ("management", "migrations", "templatetags")


def picture() -> str:
    """Floors and rooms as a Mermaid chart: an arrow means "imports"; what follows from other arrows is left out."""
    lines = ["```mermaid", "flowchart TB"]
    for floor in FLOORS:
        lines.append(f'    subgraph {floor}["{floor}/"]')
        graph = rooms_of(floor)
        lines += [f"        {floor}_{room}[{room}]" for room in sorted(graph)]
        lines += [f"        {floor}_{room} --> {floor}_{t}" for room in sorted(graph) for t in sorted(graph[room])]
        lines.append("    end")
    lines += [f"    {upper} --> {lower}" for upper, lower in zip(FLOORS, FLOORS[1:], strict=False)]
    return "\n".join([*lines, "```"])


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Every node that can be reached from a node."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        for target in graph.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def unformatted() -> list[str]:
    """Places that switch the formatter off."""
    return [
        f"{path}:{number}"
        for path in sources()
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if re.search(r"#\s*fmt:\s*(skip|off)", line)
    ]


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """Every identifier of a file with its line."""
    for token in tokenize.generate_tokens(io.StringIO((ROOT / path).read_text()).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def words_in(name: str) -> list[str]:
    """The words of an identifier: `open_requests` and `OpenRequests` are both `open`, `requests`."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def report() -> str:
    """The table, as lines."""
    sizes = [lines_of(path) for path in sources()]
    rooms = room_sizes()
    rows = [
        ("modules", len([path for path in sources() if path.name != "__init__.py"]), f"<= {MAX_MODULES}"),
        ("lines", sum(sizes), ""),
        ("longest module", max(sizes), f"<= {MAX_LINES}"),
        ("p90 of lines", sorted(sizes)[len(sizes) * 9 // 10], "<= 300"),
        *((f"files at the root of {floor}", len(root_files(floor)), f"<= {MAX_ROOT_FILES}") for floor in FLOORS),
        (f"largest room ({max(rooms, key=lambda room: rooms[room])})", max(rooms.values()), f"<= {MAX_ROOM_FILES}"),
        *((f"rooms in cycles in {floor}", sum(map(len, cycles(floor))), "0") for floor in FLOORS),
        ("fmt: skip", len(unformatted()), "0"),
    ]
    return "\n".join(f"{name:<45} {value:>7}   {bound}" for name, value, bound in rows)


if __name__ == "__main__":
    print(picture() if "picture" in sys.argv[1:] else report())

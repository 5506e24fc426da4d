"""One language: words that the glossary retired are in no name of the product and in no text that people read.

`docs/glossary.md` says which word to use instead. `python -m tests.house.test_retired_words` lists what is left.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.house.shape import ROOT, names_in, sources, words_in

RETIRED_NAMES = {
    "adrift": "in_doubt",
    "asker": "requester",
    "ear": "listener",
    "ears": "listeners",
    "entitled": "eligible",
    "entitlement": "eligibility",
    "handed": "assigned",
    "handoff": "incident",
    "handoffs": "incidents",
    "hand_off": "incident",
    "going_back": "rollback",
    "heard": "woken",
    "inmate": "worker",
    "judge": "evaluate",
    "judged": "evaluated",
    "judgement": "verdict",
    "ledger": "journal",
    "letting_go": "irreversible",
    "nudge": "wake_up",
    "nudged": "woken",
    "nudges": "wake_ups",
    "on_as": "resume",
    "pace": "duration_estimate",
    "read_back": "rollback",
    "rehearsal": "backtest",
    "rehearse": "backtest",
    "ruler": "policy",
    "ruling": "policy_result",
    "seat": "required_approval",
    "seats": "required_approvals",
    "second_thoughts": "withdraw",
    "stray": "in_doubt",
    "strays": "in_doubt",
    "tallies": "quorums",
    "tally": "quorum",
    "way_back": "rollback",
    "wish": "request",
    "wishes": "requests",
}
"""Words (or words in a row) of any identifier, and what to call it instead."""

RETIRED_DEFINITIONS = {"said": "text, values, outcome", "told": "notified, listed, described"}
"""Words that no function, class, field or constant is named after; a local name may be."""

ALLOWED_NAMES: dict[str, str] = {}
"""Identifiers that hold a retired word: why each may."""

RETIRED_TEXTS = {
    r"seats?": "required approval",
    r"hand-?offs?": "incident",
    r"handed (over|to)": "assigned",
    r"ways? back": "rollback plan",
    r"rehears\w*": "backtest",
    r"nudg\w*": "wake-up",
    r"told on": "escalated to",
    r"a person said": "approved, rejected, resolved",
    r"no places?": "no environments",
    r"(an?|the|this|every|each|open) tickets?": "incident",
    r"settl(e|es|ed|ing)": "resolve, close, decide",
    r"tall(y|ies)": "quorum",
    r"ledgers?": "journal",
    r"adrift|strays?": "in doubt",
    r"inmates?": "policy sandbox",
    r"rulers?|rulings?": "policy, policy result",
    r"entitle\w*": "eligible",
    r"wish(es|ed)?": "request",
    r"judg\w+": "evaluate, verdict",
    r"second thoughts": "withdraw",
    r"(take|takes|taken|took|taking) (it |them )?back": "withdraw",
    r"letting go": "irreversible",
    r"(ask|asks|asked|asking) for changes": "request changes",
    r"nobody is asked": "no approval needed",
    r"going back": "roll back",
    r"(stand|stood)-?ins?": "fallback",
}
"""Words (patterns) of any text, and what to say instead."""

ALLOWED_TEXTS = {
    "a change ticket|in the ticket": "the record of a change in an organisation's own ticket system",
}
"""Phrases that hold a retired word: why each may."""

RIDDLE = re.compile(r"(^|[.!?] )What [^.?!]*, ")
DOCS_IN_USE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs")


def retired_in(name: str) -> list[str]:
    """The retired words of an identifier."""
    joined = f"_{'_'.join(words_in(name))}_"
    return [] if name in ALLOWED_NAMES else [word for word in RETIRED_NAMES if f"_{word}_" in joined]


def retired_names(path: Path) -> Iterator[str]:
    """Where a file's identifiers hold a retired word."""
    for line, name in names_in(path):
        for word in retired_in(name):
            yield f"{path}:{line} {name}: {word} is {RETIRED_NAMES[word]}"
    for node in ast.walk(parsed(path)):
        for name in defined_by(node):
            for word in set(words_in(name)) & RETIRED_DEFINITIONS.keys() if name not in ALLOWED_NAMES else ():
                yield f"{path}:{node.lineno} {name}: {word} is {RETIRED_DEFINITIONS[word]}"  # type: ignore[attr-defined]


def defined_by(node: ast.AST) -> list[str]:
    """The names of a function or class, and of the fields and constants in a class or module."""
    names = [node.name] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else []
    for statement in node.body if isinstance(node, ast.ClassDef | ast.Module) else ():
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def texts_of_code(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a Python file that are sentences or parts of one, and its docstrings."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield from enumerate(node.value.splitlines(), node.lineno)


def bodies_of(node: ast.AST) -> list[ast.stmt]:
    body = getattr(node, "body", [])
    return body if isinstance(body, list) else []


def docstring_lines(path: Path) -> set[int]:
    """The lines of a Python file that docstrings take: notes for programmers, which may name things by "What …"."""
    statements = (
        (each for node in ast.walk(parsed(path)) for each in bodies_of(node) if isinstance(each, ast.Expr))
        if path.suffix == ".py"
        else ()
    )
    return {line for each in statements for line in range(each.lineno, (each.end_lineno or each.lineno) + 1)}


def texts_of_template(path: Path) -> Iterator[tuple[int, str]]:
    """The text of a template and of the attributes that are read aloud or shown."""
    for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
        bare = re.sub(r"\{[%#].*?[%#]\}|\{\{.*?\}\}", " ", line)
        shown = re.findall(r'(?:aria-label|title|placeholder|alt|value)="([^"]*)"', bare)
        yield number, " ".join([re.sub(r"<[^>]*>", " ", bare), *shown])


def texts_of_guide(path: Path) -> Iterator[tuple[int, str]]:
    """The prose of a Markdown file, without code."""
    text = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), (ROOT / path).read_text(), flags=re.S)
    yield from enumerate(re.sub(r"`[^`\n]*`", "", text).splitlines(), 1)


def retired_texts(path: Path) -> Iterator[str]:
    """Where a file's texts hold a retired word."""
    read = {".py": texts_of_code, ".md": texts_of_guide}.get(path.suffix, texts_of_template)
    notes = docstring_lines(path)
    for line, text in read(path):
        for phrase in ALLOWED_TEXTS:
            text = re.sub(phrase, "", text, flags=re.I)
        for pattern, instead in RETIRED_TEXTS.items():
            if found := re.search(rf"\b({pattern})\b", text, re.I):
                yield f"{path}:{line} “{found[0]}” is {instead}: {text.strip()[:100]}"
        if line not in notes and RIDDLE.search(text.strip()):
            yield f"{path}:{line} no sentence begins with “What …,”: {text.strip()[:100]}"


def guides() -> list[Path]:
    """The guides; the glossary names the retired words, so it is not among them."""
    found = [
        path
        for name in DOCS_IN_USE
        for path in ([ROOT / name] if name.endswith(".md") else (ROOT / name).rglob("*.md"))
    ]
    return sorted(path.relative_to(ROOT) for path in found if path.exists() and path.name != "glossary.md")


def templates() -> list[Path]:
    return sorted(p.relative_to(ROOT) for p in (ROOT / "templates").rglob("*") if p.suffix in (".html", ".txt"))


@pytest.mark.parametrize("path", list(sources()), ids=str)
def test_no_name_holds_a_retired_word(path: Path) -> None:
    assert not list(retired_names(path))


@pytest.mark.parametrize("path", [*sources(), *templates(), *guides()], ids=str)
def test_no_text_holds_a_retired_word(path: Path) -> None:
    assert not list(retired_texts(path))


@pytest.mark.parametrize("name", ["open_seats", "SeatSet", "NUDGE_S", "way_back_of", "judged_at"])
def test_a_retired_word_would_be_found(name: str) -> None:
    assert retired_in(name)


@pytest.mark.parametrize("name", ["seating", "research", "year", "wishbone", "judiciary"])
def test_a_word_that_only_holds_the_letters_is_not_one(name: str) -> None:
    assert not retired_in(name)


if __name__ == "__main__":
    for each in sources():
        print(*retired_names(each), sep="\n", end="\n" if list(retired_names(each)) else "")
    for each in [*sources(), *templates(), *guides()]:
        print(*retired_texts(each), sep="\n", end="\n" if list(retired_texts(each)) else "")

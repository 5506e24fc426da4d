"""The schema of ``modify_files`` and the rules it cannot express. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from actions.types.protocol import Issue, error, warning
from actions.types.shared.safe_path import path_fault

FILE_LIMIT = 1024 * 1024  # bytes per file
TOTAL_LIMIT = 5 * 1024 * 1024  # bytes of content per action
CHANGES_LIMIT = 500
PLACEHOLDER = re.compile(r"\{\{\s*secret:[^}]*\}\}")

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Modify files",
    "type": "object",
    "additionalProperties": False,
    "required": ["changes"],
    "properties": {
        "changes": {
            "title": "Changes",
            "description": "One entry per file. Each becomes one step that can be undone.",
            "type": "array",
            "minItems": 1,
            "maxItems": CHANGES_LIMIT,
            "items": {
                "type": "object",
                "title": "File",
                "additionalProperties": False,
                "required": ["path", "operation"],
                "properties": {
                    "path": {
                        "title": "Path",
                        "description": "Relative to the environment's root, such as etc/app.yaml.",
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 1024,
                        "x-widget": "path",
                    },
                    "operation": {
                        "title": "Operation",
                        "type": "string",
                        "enum": ["create", "modify", "delete"],
                        "x-widget": "choice",
                    },
                    "content": {
                        "title": "Content",
                        "description": "The whole new text of the file (UTF-8, at most 1 MiB). Leave out to delete.",
                        "type": "string",
                        "maxLength": FILE_LIMIT,
                        "x-widget": "code",
                    },
                },
            },
        }
    },
}


def change_faults(changes: list[dict[str, Any]]) -> list[Issue]:
    """Return everything wrong with the changes that can be told without looking at the target."""
    issues: list[Issue] = []
    for n, change in enumerate(changes):
        fault = path_fault(change["path"])
        if fault:
            issues.append(error(fault, f"changes.{n}.path"))
        issues += content_faults(change, f"changes.{n}.content")
    issues += path_conflicts([change["path"] for change in changes])
    if len(changes) > CHANGES_LIMIT:
        issues.append(error(f"{len(changes)} changes; one action takes at most {CHANGES_LIMIT}. Split it.", "changes"))
    total = sum(_byte_size(change.get("content") or "") for change in changes)
    if total > TOTAL_LIMIT:
        issues.append(
            error(f"The contents have {total} bytes in all; the limit is {TOTAL_LIMIT}. Split it.", "changes")
        )
    return issues


def content_faults(change: dict[str, Any], field: str) -> Iterator[Issue]:
    content, operation = change.get("content"), change["operation"]
    if operation == "delete":
        if content:
            yield error("A deleted file has no content. Leave content out, or use operation modify.", field)
        return
    if content is None:
        yield error(f"Give the whole new text of the file (content) to {operation} it.", field)
        return
    if any(0xD800 <= ord(char) <= 0xDFFF for char in content):
        yield error("The content is not valid Unicode (it has an unpaired surrogate), so it cannot be UTF-8.", field)
        return
    if "\0" in content:
        yield error("The content has a NUL character. Only text files can be changed.", field)
    if _byte_size(content) > FILE_LIMIT:
        yield error(f"The content has {_byte_size(content)} bytes; the limit is {FILE_LIMIT} per file.", field)
    if PLACEHOLDER.search(content):
        yield error(
            "The content names a secret ({{secret:…}}), but this installation has no secret store yet. "
            "Let the application read the secret from its own store instead.",
            field,
        )


def path_conflicts(paths: list[str]) -> list[Issue]:
    """Return clashes between the paths of one action: the same one twice, a file that another needs as a directory, and
    (as a warning) two that some file systems would hold to be one."""
    issues: list[Issue] = []
    seen: dict[str, int] = {}
    folded: dict[str, int] = {}
    for n, path in enumerate(paths):
        fold = unicodedata.normalize("NFC", path).casefold()
        if path in seen:
            message = f"changes.{seen[path]} already names {path}. Give each file once."
            issues.append(error(message, f"changes.{n}.path"))
        elif fold in folded:
            other = paths[folded[fold]]
            issues.append(warning(f"{path} and {other} differ only in case or accents' encoding.", f"changes.{n}.path"))
        seen.setdefault(path, n)
        folded.setdefault(fold, n)
    for n, path in enumerate(paths):
        above = next((parent for parent in _parent_paths(path) if parent in seen), None)
        if above is not None:
            issues.append(
                error(
                    f"{above} is changed as a file by changes.{seen[above]}, but {path} needs it as a directory. "
                    "Make two actions, one after the other.",
                    f"changes.{n}.path",
                )
            )
    return issues


def _parent_paths(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:n]) for n in range(1, len(parts)))


def _byte_size(content: str) -> int:
    return len(content.encode("utf-8", "surrogatepass"))

"""manage.py compare_heads OLD [NEW]: whether one signed head continues another. Exit status 0 or 1."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.errors import Problem
from audit.seals.tree import newest_head, prove_consistency
from audit.verification.log import ExternalHead, read_external_heads
from audit.verify.merkle import verify_consistency
from audit.verify.signatures import InvalidNote


class Command(BaseCommand):
    help = (
        "Compare two signed tree heads of a log, or one with the newest: does the later one continue the earlier? "
        "Checks both signatures and a consistency proof (RFC 9162). Exit status 1 when it does not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("old", type=Path, help="a file with a signed tree head")
        parser.add_argument(
            "new", type=Path, nargs="?", help="a second one; default: the newest tree head of the same log"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            old = _read_head(options["old"])
            new = _read_head(options["new"]) if options["new"] else _newest_external(old)
        except Problem as problem:
            raise CommandError(str(problem)) from problem
        if old.tenant != new.tenant:
            raise CommandError("These tree heads belong to different logs.")
        first, second = sorted((old.head, new.head), key=lambda head: head.size)
        try:
            proof = prove_consistency(old.tenant, first.size, second.size)
        except (LookupError, ValueError):
            self.stdout.write(f"BROKEN truncated: the log no longer has {second.size} entries, or has holes")
            sys.exit(1)
        if not verify_consistency(first.size, second.size, first.root, second.root, proof):
            self.stdout.write(f"BROKEN forked: the head over {second.size} entries does not continue {first.size}")
            sys.exit(1)
        self.stdout.write(f"consistent: {second.size} entries begin with the same {first.size}; {len(proof)} hashes")


def _read_head(path: Path) -> ExternalHead:
    try:
        return read_external_heads(path.read_text(encoding="utf-8"), str(path))[-1]
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}") from error
    except (InvalidNote, UnicodeDecodeError) as error:
        raise CommandError(f"{path} contains no tree head of a log of this installation: {error}") from error


def _newest_external(old: ExternalHead) -> ExternalHead:
    last = newest_head(old.tenant)
    if last is None:
        raise CommandError("The log of this tree head has no tree heads any more.")
    return read_external_heads(last.note, "the newest tree head")[0]

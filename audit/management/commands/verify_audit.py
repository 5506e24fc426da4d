"""manage.py verify_audit: verify the stored log. Exit status 0 or 1; the first broken item is named."""

import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.events import Head
from audit.verification import head_line, read_heads, verify_log


class Command(BaseCommand):
    help = (
        "Verify the audit log: hashes, chains, columns, artifacts, openings. Exit status 1 names the first broken item."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", type=UUID, help="only this tenant's events (its id)")
        parser.add_argument("--subject", type=UUID, help="only the chain of this subject (its id)")
        parser.add_argument(
            "--heads", type=Path, metavar="FILE", help="heads kept from an earlier run: finds what was cut off"
        )
        parser.add_argument(
            "--save-heads", type=Path, metavar="FILE", help="write the verified heads, to be kept elsewhere"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        known = _read(options["heads"]) if options["heads"] else {}
        lines: list[str] = []
        report = verify_log(
            tenant=options["tenant"],
            subject_id=options["subject"],
            known_heads=known,
            on_head=(lambda i, head: lines.append(head_line(i, head))) if options["save_heads"] else None,
        )
        if report.ok and options["subject"] and not report.events:
            raise CommandError(f"Nothing was recorded about {options['subject']}.")
        if report.ok and options["save_heads"]:
            options["save_heads"].write_text("".join(lines), encoding="ascii")
        self.stdout.write(str(report))
        if not report.ok:
            sys.exit(1)


def _read(path: Path) -> dict[UUID, Head]:
    try:
        return read_heads(path.read_text(encoding="ascii").splitlines())
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{path} holds no heads: {error}") from error

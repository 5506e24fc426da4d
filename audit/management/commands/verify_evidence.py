"""manage.py verify_evidence FILE: what `python -m audit.verify FILE` does."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit.verify.__main__ import main


class Command(BaseCommand):
    help = (
        "Verify an evidence pack, or an archive of the log. Exit status 0: intact; 1: broken; 2: could not be checked."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file")
        parser.add_argument("--key", action="append", default=[], help="a public key that you trust, or a file of them")
        parser.add_argument("--head", action="append", default=[], help="a file of tree heads that you kept")
        parser.add_argument("--json", action="store_true", help="print JSON for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        given = [f"--{name}={value}" for name in ("key", "head") for value in options[name]]
        sys.exit(main([options["file"], *given, *(["--json"] if options["json"] else [])]))

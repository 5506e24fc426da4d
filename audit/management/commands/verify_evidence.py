"""manage.py verify_evidence FILE: what `python -m audit.verify FILE` does."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit import verify


class Command(BaseCommand):
    help = "Verify an evidence pack. Exit status 0 when it is intact, 1 when not, naming the first broken item."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(verify.main([options["file"]]))

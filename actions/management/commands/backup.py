from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from actions.engine.backup import BackupFailed, back_up


class Command(BaseCommand):
    help = (
        "Write a consistent copy of the database into a new file, while everything runs; docs/backup.md has the rest."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--pg-bin", default="", help="where pg_dump is, if not on the PATH")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            size = back_up(options["file"].absolute(), options["pg_bin"])
        except BackupFailed as failed:
            raise CommandError(str(failed)) from failed
        self.stdout.write(f"{options['file']}: {size:,} bytes. Keep INTERLOCK_KEK too, somewhere else.")

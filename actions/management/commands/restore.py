from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from actions.engine.backup import BackupFailed, restore


class Command(BaseCommand):
    help = (
        "Put a backup in the place of what the database holds, migrate it, and end the leases of lost workers. "
        "Stop every process of the installation first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--yes", action="store_true", help="replace what the database holds without asking")
        parser.add_argument("--pg-bin", default="", help="where pg_restore and psql are, if not on the PATH")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["yes"]:
            asked = input("Everything in the database will be replaced. Type 'restore' to go on: ")
            if asked.strip() != "restore":
                raise CommandError("Nothing was changed.")
        try:
            restore(options["file"].absolute(), options["pg_bin"])
        except BackupFailed as failed:
            raise CommandError(str(failed)) from failed
        self.stdout.write("Restored. Run `manage.py verify_audit`, then start web, workers and beat.")

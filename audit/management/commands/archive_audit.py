"""manage.py archive_audit: write old sealed events to files that verify on their own, and prune what is archived."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.errors import Problem
from audit.retention.archives import archive_directory, prune_archived, read_keep_days, write_archive


class Command(BaseCommand):
    help = (
        "Archive events that are older than the tenant's retention. With --prune, also remove them from the database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", type=UUID, required=True, help="its id")
        parser.add_argument("--keep-days", type=int, help="overrides the tenant's retention")
        parser.add_argument("--prune", action="store_true", help="needs the rights of the tables' owner")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = options["tenant"]
        days = read_keep_days(tenant) if options["keep_days"] is None else options["keep_days"]
        if days is None:
            raise CommandError("The tenant keeps its log forever. Give --keep-days, or set its retention.")
        if days < 0:
            raise CommandError("--keep-days is a number of days, 0 or more.")
        try:
            made = write_archive(tenant, days)
            self.stdout.write(
                f"{archive_directory(tenant) / made.file}: {made}" if made else "No new events are old enough."
            )
            if options["prune"]:
                self.stdout.write(f"{prune_archived(tenant)} events were removed from the database.")
        except Problem as problem:
            raise CommandError(" ".join([problem.detail, *problem.remedies])) from problem

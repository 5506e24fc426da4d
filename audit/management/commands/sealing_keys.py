"""manage.py sealing_keys: list, replace or revoke the keys that a tenant's heads and packs are signed with."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.errors import Problem
from audit.seals import keys

ACTOR = "system:setup"


class Command(BaseCommand):
    help = "List a tenant's signing keys; replace the current one; revoke one. Each change leaves an event."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", type=UUID, help="the tenant's id")
        change = parser.add_mutually_exclusive_group()
        change.add_argument(
            "--rotate", action="store_true", help="create a new key; the old one stays valid for --overlap-days"
        )
        change.add_argument("--revoke", metavar="KEY_ID", help="revoke this key: signatures from now on are not valid")
        parser.add_argument(
            "--overlap-days",
            type=float,
            default=keys.OVERLAP.days,
            help="days that the replaced key stays valid (default 7)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = options["tenant"]
        try:
            if options["rotate"]:
                keys.rotate(tenant, ACTOR, timedelta(days=options["overlap_days"]))
            elif options["revoke"]:
                keys.revoke(tenant, options["revoke"], ACTOR)
            found = keys.public_keys(tenant)
        except Problem as problem:
            raise CommandError(str(problem)) from problem
        for key in found:
            ends = f"revoked {key['revoked_at']}" if key["revoked_at"] else f"until {key['valid_until'] or 'replaced'}"
            self.stdout.write(f"{key['vkey']}  from {key['valid_from']}, {ends}")
        if not found:
            self.stdout.write("No keys yet. The first key is created when the first event enters the signed log.")

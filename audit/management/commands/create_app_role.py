"""manage.py create_app_role: a PostgreSQL role that can read the log and add to it, and do nothing else to it."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from audit.database.guards import create_app_role, role_name_fault


class Command(BaseCommand):
    help = (
        "Create or refresh the role that web and worker processes sign in as. Run it with the rights of the tables' "
        "owner, after every migration. The password is read from the environment variable that --password-from names."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("role", help="such as interlock_app")
        parser.add_argument(
            "--password-from",
            default="APP_ROLE_PASSWORD",
            metavar="VARIABLE",
            help="the environment variable that contains the password",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor != "postgresql":
            raise CommandError("SQLite has no roles. Use PostgreSQL for this.")
        password = os.environ.get(options["password_from"], "")
        if not password:
            raise CommandError(f"Put the role's password into {options['password_from']} and run the command again.")
        if fault := role_name_fault(options["role"]):
            raise CommandError(fault)
        create_app_role(options["role"], password)
        self.stdout.write(f"{options['role']} can read and add. Use it in DATABASE_URL of web and worker processes.")

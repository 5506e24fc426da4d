import json
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from actions.demo.world import PEOPLE
from audit.database.clock import database_time
from tenants.audit_hooks.events import SETUP_ACTOR
from tenants.authentication.tokens import issue_token
from tenants.models import PERMISSIONS, Principal, Tenant


class Command(BaseCommand):
    help = "Issue API tokens for the demo's principals and print them; each call issues new ones, valid for a day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help='print {"operator": "ilk_…", …}')

    def handle(self, *args: Any, **options: Any) -> None:
        owners = {name: tenant for name, (_, tenant, _) in PEOPLE.items()} | {"agent": "acme"}
        principals = {p.username: p for p in Principal.objects.filter(username__in=owners)}
        if missing := sorted(set(owners) - set(principals)):
            raise CommandError(f"The demo is not loaded ({', '.join(missing)} missing). Run `manage.py demo` first.")
        tenants = {t.slug: t for t in Tenant.objects.all()}
        until = database_time() + timedelta(days=1)
        tokens = {
            name: issue_token(principals[name], tenants[slug], "demo", list(PERMISSIONS), until, SETUP_ACTOR)[1]
            for name, slug in owners.items()
        }
        if options["json"]:
            self.stdout.write(json.dumps(tokens))
            return
        for name, token in tokens.items():
            self.stdout.write(f"{name:>10}  {token}")

"""manage.py recover_policy: retire a policy, or write one row of the matrix, without approval. Records an event."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from approvals.models import Policy
from approvals.policies.publish import retire_now, set_row_now
from audit.errors import Problem
from tenants.models import Environment, Tenant


class Command(BaseCommand):
    help = (
        "Recover from a lock-out: retire a policy, or write one row of the approval matrix, without approval. "
        "Needs access to this machine, changes nothing else, and records an event with the reason. Works while "
        "nothing runs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tenant", required=True, help="the tenant's slug; for a global policy, the tenant that owns it"
        )
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--policy", metavar="SLUG", help="the policy to retire")
        what.add_argument(
            "--matrix",
            nargs=3,
            metavar=("ENVIRONMENT", "TIER", "REQUIRED_APPROVALS"),
            help='the row to write, such as: prod critical \'[{"role": "approver", "count": 2}]\'',
        )
        parser.add_argument("--everywhere", action="store_true", help="the policy is a global one")
        parser.add_argument("--reason", required=True, help="why; stored with the event")

    def handle(self, *args: Any, **options: Any) -> None:
        reason = options["reason"].strip()
        if not reason:
            raise CommandError("Give a reason: auditors read it.")
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        if options["matrix"]:
            slug, tier, required_approvals = options["matrix"]
            self._write_row(tenant, slug, tier, required_approvals, reason)
        else:
            self._retire(tenant, options["policy"], options["everywhere"], reason)

    def _retire(self, tenant: Tenant, slug: str, everywhere: bool, reason: str) -> None:
        policy = Policy.objects.filter(home=tenant, tenant=None if everywhere else tenant, slug=slug).first()
        if policy is None:
            elsewhere = Policy.objects.filter(home=tenant, slug=slug).exists()
            hint = (
                f" There is a {'policy of its own' if everywhere else 'global one: add --everywhere'}."
                if elsewhere
                else ""
            )
            raise CommandError(f"{tenant.slug} has no {'global ' if everywhere else ''}policy {slug!r}.{hint}")
        version = retire_now(policy, reason)
        if version is None:
            self.stdout.write(f"{slug} was not in force; nothing changed.")
        else:
            self.stdout.write(f"{slug} v{version} is retired. It can be published again like any other version.")

    def _write_row(self, tenant: Tenant, slug: str, tier: str, required_approvals: str, reason: str) -> None:
        environment = Environment.objects.filter(tenant=tenant, slug=slug).select_related("tenant").first()
        if environment is None:
            raise CommandError(f"{tenant.slug} has no environment {slug!r}.")
        try:
            set_row_now(environment, tier, json.loads(required_approvals), reason)
        except json.JSONDecodeError as error:
            raise CommandError(f"The required approvals are not JSON: {error}") from None
        except Problem as problem:
            issues = [issue["message"] for issue in problem.extra.get("issues", [])]
            raise CommandError(" ".join(issues) or problem.detail) from None
        self.stdout.write(f"{slug}: {tier} changes now require {required_approvals}.")

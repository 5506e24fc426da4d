import getpass
import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.errors import Problem
from tenants.models import Principal, RiskClass
from tenants.provisioning import NewEnvironment, bootstrap

DEFAULT_ENVIRONMENTS = ["dev:safe", "staging:guarded", "prod:dangerous"]
NEXT = """\
Tenant {tenant} is set up. Next, in the browser, signed in as {admin}:

  1. Administration → Approval rules: set how many people of which role must approve, per environment and tier. Without
     a matching row, every action is denied.
  2. Administration → Environments: set the directory in which actions may change files (root).
  3. Administration → Principals: add people, give them roles (operator, approver, security, auditor), and send each
     the link that sets their password. Only roles let people approve; being a superuser does not.
"""


class Command(BaseCommand):
    help = "Create the first tenant, its environments and its admin. Prompts for missing options."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", help="short name: lower-case letters, digits, hyphens")
        parser.add_argument("--name", help="the tenant's full name (default: the slug, capitalised)")
        parser.add_argument(
            "--environment",
            action="append",
            metavar="SLUG:RISK[:ROOT]",
            help=f"repeat for each; risk is {', '.join(RiskClass.values)} (default: {' '.join(DEFAULT_ENVIRONMENTS)})",
        )
        parser.add_argument("--admin", metavar="USERNAME", help="the admin's username")
        parser.add_argument("--email", default="", help="the admin's email address, for password links")
        parser.add_argument("--password-stdin", action="store_true", help="read the password from one line of stdin")
        parser.add_argument("--force", action="store_true", help="add a tenant although one exists")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["tenant"] or _ask("Tenant, short name (as in addresses): ", "--tenant")
        username = options["admin"] or _ask("Username of its admin: ", "--admin")
        environments = [_parse_environment(text) for text in options["environment"] or DEFAULT_ENVIRONMENTS]
        is_known = options["force"] and Principal.objects.filter(username__iexact=username).exists()
        password = "" if is_known else _password(username, options["password_stdin"])
        try:
            tenant = bootstrap(
                slug=slug,
                name=options["name"] or slug.capitalize(),
                environments=environments,
                username=username,
                email=options["email"],
                password=password,
                force=options["force"],
            )
        except Problem as problem:
            raise CommandError(" ".join([problem.detail, *problem.remedies])) from None
        except ValidationError as error:
            raise CommandError("; ".join(_describe_errors(error))) from None
        self.stdout.write(NEXT.format(tenant=tenant.slug, admin=username))


def _describe_errors(error: ValidationError) -> list[str]:
    if not hasattr(error, "error_dict"):
        return list(error.messages)
    return [f"{field}: {message}" for field, messages in error.message_dict.items() for message in messages]


def _parse_environment(text: str) -> NewEnvironment:
    slug, _, rest = text.partition(":")
    risk_class, _, root = rest.partition(":")
    if risk_class not in RiskClass.values or (root and not root.startswith("/")):
        raise CommandError(
            f"--environment {text}: write it as SLUG:RISK[:ROOT], with RISK one of {', '.join(RiskClass.values)} and "
            f"ROOT an absolute directory, e.g. prod:dangerous:/srv/app"
        )
    return NewEnvironment(slug, risk_class, root)


def _ask(prompt: str, option: str) -> str:
    if not sys.stdin.isatty():
        raise CommandError(f"{option} is missing, and there is no terminal to prompt on.")
    return input(prompt).strip()


def _password(username: str, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\n")
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Password again: "):
            raise CommandError("The two passwords differ; nothing changed.")
    else:
        raise CommandError("Pipe the password in with --password-stdin, or run this on a terminal.")
    try:
        validate_password(password, Principal(username=username))
    except ValidationError as error:
        raise CommandError(f"This password is not accepted: {' '.join(error.messages)}") from None
    return password

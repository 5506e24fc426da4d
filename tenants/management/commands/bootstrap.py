import getpass
import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.errors import Problem
from tenants.models import Principal, RiskClass
from tenants.provisioning import NewEnvironment, bootstrap

DEFAULT_PLACES = ["dev:safe", "staging:guarded", "prod:dangerous"]
NEXT = """\
Tenant {tenant} is set up. Next, in the browser, signed in as {admin}:

  1. Administration → Approval rules: say how many of which role must approve, per environment and tier. Where no row
     matches, every action is denied.
  2. Administration → Environments: set the directory that file changes may touch (root).
  3. Administration → Principals: add people, give them roles (operator, approver, security, auditor), and send each
     the link that sets their password. Being a superuser lets nobody approve; roles do.
"""


class Command(BaseCommand):
    help = "Make the first tenant, its environments and its admin. Asks for what the options do not say."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", help="short name: lower-case letters, digits, hyphens")
        parser.add_argument("--name", help="the tenant's full name (default: the slug, capitalised)")
        parser.add_argument(
            "--environment",
            action="append",
            metavar="SLUG:RISK[:ROOT]",
            help=f"repeat for each; risk is {', '.join(RiskClass.values)} (default: {' '.join(DEFAULT_PLACES)})",
        )
        parser.add_argument("--admin", metavar="USERNAME", help="who administers it")
        parser.add_argument("--email", default="", help="the admin's address, for password links")
        parser.add_argument("--password-stdin", action="store_true", help="read the password's one line from stdin")
        parser.add_argument("--force", action="store_true", help="add a tenant although there is one already")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["tenant"] or _ask("Tenant, short name (as in addresses): ", "--tenant")
        username = options["admin"] or _ask("Username of its admin: ", "--admin")
        places = [_parse_environment(text) for text in options["environment"] or DEFAULT_PLACES]
        is_known = options["force"] and Principal.objects.filter(username__iexact=username).exists()
        password = "" if is_known else _password(username, options["password_stdin"])
        try:
            tenant = bootstrap(
                slug=slug,
                name=options["name"] or slug.capitalize(),
                places=places,
                username=username,
                email=options["email"],
                password=password,
                force=options["force"],
            )
        except Problem as problem:
            raise CommandError(" ".join([problem.detail, *problem.remedies])) from None
        except ValidationError as error:
            raise CommandError("; ".join(_split_words(error))) from None
        self.stdout.write(NEXT.format(tenant=tenant.slug, admin=username))


def _split_words(error: ValidationError) -> list[str]:
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
        raise CommandError(f"{option} is missing, and there is no terminal to ask on.")
    return input(prompt).strip()


def _password(username: str, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\n")
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Password again: "):
            raise CommandError("The two passwords differ; nothing was changed.")
    else:
        raise CommandError("Pipe the password in with --password-stdin, or run this on a terminal.")
    try:
        validate_password(password, Principal(username=username))
    except ValidationError as error:
        raise CommandError(f"This password will not do: {' '.join(error.messages)}") from None
    return password

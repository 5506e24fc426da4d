"""Every command says what it does, and the models are what the migrations make."""

import pytest
from django.core.management import call_command, get_commands, load_command_class

pytestmark = pytest.mark.dialect

FLOORS = ("config", "actions", "approvals", "tenants", "audit")
OURS = sorted(name for name, app in get_commands().items() if str(app).split(".")[0] in FLOORS)


def test_the_promised_commands_are_there() -> None:
    promised = {"bootstrap", "demo", "demo_tokens", "verify_audit", "verify_evidence", "rotate_keys"}
    assert promised <= set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_every_command_says_what_it_does(name: str) -> None:
    command = load_command_class(get_commands()[name], name)
    assert len(command.help) > 20 and command.help.rstrip().endswith(".")
    parser = command.create_parser("manage.py", name)
    own = [a for a in parser._actions if a.dest not in DJANGOS]
    assert not [a.dest for a in own if a.option_strings and not a.help], "say what the option is for"


DJANGOS = {
    "help",
    "version",
    "verbosity",
    "settings",
    "pythonpath",
    "traceback",
    "no_color",
    "force_color",
    "skip_checks",
}


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)

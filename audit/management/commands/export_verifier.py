"""manage.py export_verifier FILE: the verifier as one file for whoever shall not have to trust this machine."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit.evidence.verifier_file import verifier_file


class Command(BaseCommand):
    help = "Write the verifier of evidence packs as one file, which `python FILE PACK` runs without Interlock."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="where to write it, such as verify.pyz")

    def handle(self, *args: Any, **options: Any) -> None:
        Path(options["file"]).write_bytes(verifier_file())
        self.stdout.write(f"Run it with: python {options['file']} PACK --key KEY")

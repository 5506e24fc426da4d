"""The stand-alone verifier as one file to hand over: `python verify.pyz FILE`. The same bytes every time."""

import io
import zipfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

import audit.verify

PACKAGE = Path(audit.verify.__file__).parent
MAIN = "import sys\n\nfrom audit.verify.__main__ import main\n\nsys.exit(main(sys.argv[1:]))\n"
FILE_TIME = (1980, 1, 1, 0, 0, 0)


def build_verifier() -> bytes:
    """A Python ZIP application of `audit/verify`, to be read by whoever unpacks it."""
    sources = {"__main__.py": MAIN, "audit/__init__.py": ""}
    sources |= {f"audit/verify/{path.name}": path.read_text("utf-8") for path in sorted(PACKAGE.glob("*.py"))}
    out = io.BytesIO(b"#!/usr/bin/env python3\n")
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a") as archive:
        for name, text in sources.items():
            info = zipfile.ZipInfo(name, FILE_TIME)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, text)
    return out.getvalue()


# manage.py export_verifier FILE: the verifier as one file for whoever shall not have to trust this machine.


class Command(BaseCommand):
    help = "Write the verifier as one file. `python FILE PACK` runs it without Interlock."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="where to write it, such as verify.pyz")

    def handle(self, *args: Any, **options: Any) -> None:
        Path(options["file"]).write_bytes(build_verifier())
        self.stdout.write(f"Run it with: python {options['file']} PACK --key KEY")

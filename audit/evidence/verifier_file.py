"""The stand-alone verifier as one file to hand over: `python verify.pyz FILE`. The same bytes every time."""

import io
import zipfile
from pathlib import Path

import audit.verify

PACKAGE = Path(audit.verify.__file__).parent
START = "import sys\n\nfrom audit.verify.cli import main\n\nsys.exit(main(sys.argv[1:]))\n"
WHEN = (1980, 1, 1, 0, 0, 0)


def verifier_file() -> bytes:
    """A Python ZIP application of `audit/verify`, to be read by whoever unpacks it."""
    sources = {"__main__.py": START, "audit/__init__.py": ""}
    sources |= {f"audit/verify/{path.name}": path.read_text("utf-8") for path in sorted(PACKAGE.glob("*.py"))}
    out = io.BytesIO(b"#!/usr/bin/env python3\n")
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a") as archive:
        for name, text in sources.items():
            info = zipfile.ZipInfo(name, WHEN)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, text)
    return out.getvalue()

"""The verifier's command line: `python -m audit.verify FILE [--key KEY …] [--head FILE …] [--json]`.

Exit status: 0 it holds, 1 it does not, 2 it could not be looked at.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from audit.verify.events import Broken
from audit.verify.packs import Summary, verify_file
from audit.verify.trust import CannotCheck, ExternalHeads, Key

ADVICE = """Nothing in the file was changed since it was signed. Who signed it, you must know from elsewhere: ask for
the public key of their log in a way that you trust, and give it with --key."""


def main(arguments: Sequence[str]) -> int:
    """Print the verdict on one file; return the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        keys = [Key.read(vkey) for given in asked.key for vkey in _vkeys(given)]
        kept = ExternalHeads.read("\n".join(Path(path).read_text("utf-8") for path in asked.head))
        with Path(asked.file).open("rb") as file:
            found = verify_file(file, keys, kept, asked.least)
    except Broken as broken:
        said = {"ok": False, "kind": broken.kind, "item": broken.item, "detail": broken.detail}
        print(json.dumps(said) if asked.json else f"BROKEN {broken}")
        return 1
    except (OSError, UnicodeDecodeError, CannotCheck) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        print(f"cannot verify {asked.file}: {reason}", file=sys.stderr)
        return 2
    print(json.dumps({"ok": True, "verdict": str(found), **asdict(found)}) if asked.json else _words(found))
    return 0


def _words(found: Summary) -> str:
    return str(found) if found.is_trusted or not found.signers else f"{found}\n{ADVICE}"


def _vkeys(given: str) -> list[str]:
    """A key, or the lines of a file of keys."""
    if "+" in given and not Path(given).exists():
        return [given]
    return [line for line in Path(given).read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audit.verify", description="Verify an evidence pack.")
    parser.add_argument("file", metavar="FILE", help="the pack, a .zip")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="KEY",
        help="a public key that you trust (name+id+base64), or a file of such lines",
    )
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="FILE",
        help="heads that you kept: signed notes, or lines of `verify_audit --save-heads`",
    )
    parser.add_argument(
        "--least", type=int, default=1, metavar="N", help="how many of the given keys must have signed (default 1)"
    )
    parser.add_argument("--json", action="store_true", help="say it for programs")
    return parser

"""The verifier's command line: `python -m audit.verify FILE [--key KEY …] [--head FILE …] [--json]`.

FILE is an evidence pack or an archive of the log. Exit status: 0 intact, 1 broken, 2 could not be checked.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from audit.verify.archive import ArchiveSummary, is_archive, verify_archive
from audit.verify.events import Broken
from audit.verify.packs import Summary, verify_file
from audit.verify.signatures import CannotCheck, ExternalHeads, read_key

ADVICE = """Nothing in the file was changed since it was signed, but nobody has confirmed whose key signed it. Get the
public key of the log from a source that you trust, and pass it with --key."""


def main(arguments: Sequence[str]) -> int:
    """Print the verdict on one file; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        found = _verify(options)
    except Broken as broken:
        report = {"ok": False, "kind": broken.kind, "item": broken.item, "detail": broken.detail}
        print(json.dumps(report) if options.json else f"BROKEN {broken}")
        return 1
    except (OSError, UnicodeDecodeError, CannotCheck) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        print(f"cannot verify {options.file}: {reason}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"ok": True, "verdict": str(found), **asdict(found)}))
    else:
        print(found if found.is_trusted else f"{found}\n{ADVICE}")
    return 0


def _verify(options: argparse.Namespace) -> Summary | ArchiveSummary:
    keys = [read_key(vkey) for given in options.key for vkey in _vkeys(given)]
    external_heads = ExternalHeads.read("\n".join(Path(path).read_text("utf-8") for path in options.head))
    with Path(options.file).open("rb") as file:
        verify = verify_archive if is_archive(file) else verify_file
        return verify(file, keys, external_heads, options.least)


def _vkeys(given: str) -> list[str]:
    """A key, or the lines of a file of keys."""
    if "+" in given and not Path(given).exists():
        return [given]
    return [line for line in Path(given).read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m audit.verify", description="Verify an evidence pack, or an archive of the log."
    )
    parser.add_argument("file", metavar="FILE", help="an evidence pack (.zip) or an archive (.jsonl.gz)")
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
        help="tree heads that you kept: signed notes, or lines of `verify_audit --save-heads`",
    )
    parser.add_argument(
        "--least", type=int, default=1, metavar="N", help="how many of the given keys must have signed (default 1)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

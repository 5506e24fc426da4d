"""manage.py verify_audit: verify the stored log. Exit status 0 or 1; the first broken item is named."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.errors import Problem
from audit.log.events import ChainHead
from audit.verification.chain import ChainReport, format_head, parse_heads, verify_chains
from audit.verification.log import (
    ExternalHead,
    VerificationResult,
    entries_between,
    read_external_heads,
    sealed_tenants,
    verified_size,
    verify_sealed_subject,
    verify_tenant_log,
)
from audit.verify.signatures import InvalidNote


class Command(BaseCommand):
    help = (
        "Verify the audit log: entries and signed tree heads, hashes, chains, columns, artifacts, openings. Exit "
        "status 1 names the first broken item. Without options everything is verified."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", type=UUID, help="only this tenant's log (its id)")
        parser.add_argument(
            "--subject", type=UUID, help="only the chain of this subject (its id), and its entries in the signed log"
        )
        parser.add_argument("--range", metavar="A:B", help="only entries A up to B of a tenant's log")
        parser.add_argument("--since", type=_parse_time, help="only entries signed from this time on (ISO 8601, UTC)")
        parser.add_argument("--until", type=_parse_time, help="only entries signed before this time")
        parser.add_argument(
            "--incremental", action="store_true", help="only entries since the last successful verification"
        )
        parser.add_argument(
            "--head",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="signed tree heads that were kept elsewhere: detects a truncated or rewritten log",
        )
        parser.add_argument("--heads", type=Path, metavar="FILE", help="the same for chains; a file from --save-heads")
        parser.add_argument(
            "--save-heads",
            type=Path,
            metavar="FILE",
            help="write the verified heads of chains to a file, to keep elsewhere",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            external_heads = [head for path in options["head"] for head in _read_external_heads(path)]
            sealed = self._sealed(options, external_heads)
            chains = None if _is_part(options) or not sealed.ok else self._chains(options)
        except Problem as problem:
            raise CommandError(str(problem)) from problem
        if not sealed.ok or (chains and not chains.ok):
            self.stdout.write(f"BROKEN {sealed.broken or (chains and chains.broken)}")
            sys.exit(1)
        if chains is not None:
            self.stdout.write(str(chains))
        if sealed.heads or chains is None:
            self.stdout.write(_describe_result(sealed, options))

    def _sealed(self, options: dict[str, Any], external_heads: list[ExternalHead]) -> VerificationResult:
        """The verdict on the seals; of several logs, the sum up to the first that is broken."""
        total = VerificationResult()
        if options["subject"]:
            return total
        tenants = [options["tenant"]] if options["tenant"] else sealed_tenants()
        unknown = next((head for head in external_heads if head.tenant not in tenants), None)
        if unknown is not None:
            raise CommandError(
                f"{unknown.where} is a tree head of the log of {unknown.tenant}, which is not verified here."
            )
        for tenant in tenants:
            start, upto = _bounds(tenant, options)
            found = verify_tenant_log(
                tenant, start=start, upto=upto, external_heads=[h.head for h in external_heads if h.tenant == tenant]
            )
            total = total + found
            if not found.ok:
                break
        return total

    def _chains(self, options: dict[str, Any]) -> ChainReport:
        known, lines = _read_chain_heads(options["heads"]) if options["heads"] else {}, list[str]()
        if options["subject"] and not known and not options["save_heads"]:
            report = verify_sealed_subject(options["tenant"], options["subject"])
        else:
            report = verify_chains(
                tenant=options["tenant"],
                subject_id=options["subject"],
                known_heads=known,
                on_head=(lambda i, head: lines.append(format_head(i, head))) if options["save_heads"] else None,
            )
        if report.ok and options["subject"] and not report.events:
            raise CommandError(f"The log has no events about {options['subject']}.")
        if report.ok and options["save_heads"]:
            options["save_heads"].write_text("".join(lines), encoding="ascii")
        return report


def _is_part(options: dict[str, Any]) -> bool:
    """Whether only a part of the log was asked for: its chains are followed as far as the part reaches."""
    return bool(options["range"] or options["since"] or options["until"] or options["incremental"])


def _bounds(tenant: UUID, options: dict[str, Any]) -> tuple[int, int | None]:
    if options["range"]:
        first, _, last = options["range"].partition(":")
        if not (first.isdecimal() and last.isdecimal() and int(first) < int(last)):
            raise CommandError("Give a range as A:B, two entry numbers with A below B, for example 0:1000.")
        return int(first), int(last)
    if options["since"] or options["until"]:
        return entries_between(tenant, options["since"], options["until"])
    return (verified_size(tenant) if options["incremental"] else 0), None


def _describe_result(found: VerificationResult, options: dict[str, Any]) -> str:
    part = f" from entry {found.size - found.entries}" if _is_part(options) and found.logs == 1 else ""
    return f"sealed: {found.entries} entries{part} under {found.heads} heads, in {found.logs} logs"


def _parse_time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _read_external_heads(path: Path) -> list[ExternalHead]:
    try:
        return read_external_heads(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}") from error
    except (InvalidNote, UnicodeDecodeError) as error:
        raise CommandError(f"{path} contains no tree head of a log of this installation: {error}") from error


def _read_chain_heads(path: Path) -> dict[UUID, ChainHead]:
    try:
        return parse_heads(path.read_text(encoding="ascii").splitlines())
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{path} contains no heads: {error}") from error

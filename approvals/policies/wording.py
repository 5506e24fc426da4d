"""What a policy says, whoever keeps it: its fields, the checks they must pass, and the text that people compare."""

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from approvals.judge import check_seats
from approvals.policies.cell import check
from approvals.policies.models import EFFECTS, MODES, PolicyVersion
from approvals.policies.schema import FACTS
from audit.changes.masking import find_secrets
from audit.errors import Invalid
from audit.log.canonical_json import digest_of

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
UNDECLARED = re.compile(r"undeclared reference to '([\w.]+)'")
NO_OVERLOAD = re.compile(r"found no matching overload for '(.+)' applied to '\((.*)\)'")
MOST_MESSAGE, MOST_SLUG, MOST_SEATS = 500, 64, 20


@dataclass(frozen=True)
class Wording:
    """`seats` are {"role", "count"}, for `require` only. `message` is what people read when it applies."""

    expression: str
    effect: str
    message: str
    seats: list[dict[str, Any]] = field(default_factory=list)
    overridable: bool = False
    mode: str = "enforce"


def wording_of(version: PolicyVersion) -> Wording:
    return Wording(
        version.expression, version.effect, version.message, version.seats, version.overridable, version.mode
    )


def fingerprint(wording: Wording) -> str:
    """What an editor sends back to say which wording it started from."""
    return digest_of(asdict(wording))


def as_yaml(version: PolicyVersion) -> str:
    """A version as the text that reviewers compare. Needs `policy` and its tenant joined."""
    policy = version.policy
    scope = policy.tenant.slug if policy.tenant else "every tenant"
    return dumped({"policy": policy.slug, "guards": scope, "version": version.version, **asdict(wording_of(version))})


def text_digest(version: PolicyVersion) -> str:
    """SHA-256 of `as_yaml`: what a plan names, so that nothing else is put in force."""
    return hashlib.sha256(as_yaml(version).encode()).hexdigest()


def dumped(value: Mapping[str, Any]) -> str:
    """YAML in the order given, with texts of several lines written as blocks."""
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000)


def refuse_faults(wording: Wording, roles: set[str] | None) -> None:
    """Raise Invalid with every fault, the expression's with `line` and `column`. `roles`: None knows no roles."""
    issues = [*faults_of_expression(wording.expression), *_faults(wording, roles)]
    if issues:
        raise Invalid(issues[0]["message"], issues=issues)


def faults_of_expression(expression: str) -> list[dict[str, Any]]:
    """Every fault of an expression: {"severity", "message", "field": "expression", "line", "column"}."""
    return [
        {**issue(in_words(fault.message), "expression"), "line": fault.line, "column": fault.column}
        for fault in check(expression)
    ]


def in_words(message: str) -> str:
    """A fault as the library tells it, with what was probably meant, and without its list of everything it expected."""
    if found := UNDECLARED.fullmatch(message):
        near = difflib.get_close_matches(found[1], FACTS, 1, 0.6)
        meant = f" Did you mean {near[0]}?" if near else ""
        return f"undeclared reference to '{found[1]}': there is no such fact.{meant}"
    if found := NO_OVERLOAD.fullmatch(message):
        return f"{found[1].strip('_').replace('_', ' ')} does not work on ({found[2]}): the types do not fit."
    return message.split(" expecting {")[0].replace("'<EOF>'", "the end of the expression")


def refuse_slug(slug: str) -> None:
    if len(slug) > MOST_SLUG or not SLUG.fullmatch(slug):
        message = f"Small letters, digits and single hyphens, at most {MOST_SLUG}: such as no-deletes-in-prod."
        raise Invalid(message, issues=[issue(message, "slug")])


def issue(message: str, where: str) -> dict[str, Any]:
    return {"severity": "error", "message": message, "field": where}


def _faults(wording: Wording, roles: set[str] | None) -> Iterator[dict[str, Any]]:
    if wording.effect not in EFFECTS:
        yield issue(f"One of {', '.join(EFFECTS)}.", "effect")
    if wording.mode not in MODES:
        yield issue(f"One of {', '.join(MODES)}.", "mode")
    if not wording.message.strip():
        yield issue("Say what people should know when it applies, and what they can do.", "message")
    if len(wording.message) > MOST_MESSAGE:
        yield issue(f"At most {MOST_MESSAGE} characters; this has {len(wording.message):,}.", "message")
    for name in ("expression", "message"):
        if any(ord(c) < 32 and c not in "\n\t\r" or 0xD800 <= ord(c) <= 0xDFFF for c in getattr(wording, name)):
            yield issue("Control characters are not accepted here.", name)
        for found in find_secrets(getattr(wording, name)):
            message = f"This looks like a secret: {found.kind}. Secrets must not enter policies."
            yield {**issue(message, name), "line": found.line, "column": found.column}
    yield from _seat_faults(wording, roles)


def _seat_faults(wording: Wording, roles: set[str] | None) -> Iterator[dict[str, Any]]:
    if wording.effect != "require":
        if wording.seats:
            yield issue("Only `require` names seats.", "seats")
        return
    try:
        seats = check_seats(wording.seats)
    except ValueError as error:
        yield issue(str(error), "seats")
        return
    if not seats:
        yield issue("Name the seats that it requires: a role, and how many people.", "seats")
    if len(seats) > MOST_SEATS or any(seat["count"] > MOST_SEATS for seat in seats):
        yield issue(f"At most {MOST_SEATS} rows, of at most {MOST_SEATS} people each.", "seats")
    if any(len(seat["role"]) > 63 or not seat["role"].isprintable() for seat in seats):
        yield issue("A role's name is at most 63 characters, all of them printable.", "seats")
    for role in sorted({seat["role"] for seat in seats} - roles) if roles is not None else ():
        yield issue(f"{role} is no role that may approve here, so nobody could ever fill its seat.", "seats")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)

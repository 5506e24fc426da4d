"""For whom a pack is made, and what is withheld from them.

Events hold commitments only, so a private value that is not opened leaves the pack as verifiable as it was; artifacts
that are not packed are listed in the signed statement as withheld.
"""

from dataclasses import dataclass
from uuid import UUID

from audit.errors import Invalid, NotFound
from audit.evidence.models import Audience as Stored

FULL = "full"
BUILT_IN: dict[str, tuple[str, ...]] = {
    FULL: (),
    "external": ("people", "private:*", "artifact:log", "context:*"),
}
"""`people`: their names. `private:NAME`, `private:*`: what people wrote. `artifact:KIND`: plan, changes, log,
verification, other. `context:KIND`, `context:*`: what other parts of Interlock added."""
KINDS = ("people", "private", "artifact", "context")


@dataclass(frozen=True)
class Redaction:
    """What is withheld from one audience, as words of BUILT_IN."""

    audience: str
    withheld: frozenset[str]

    def withholds(self, kind: str, name: str = "") -> bool:
        return bool({kind, f"{kind}:*", f"{kind}:{name}"} & self.withheld)


WHOLE = Redaction(FULL, frozenset())


def redaction_for(tenant: UUID, audience: str) -> Redaction:
    """The tenant's own rule for this audience, else the built-in one. Raises NotFound. One query, none for `full`."""
    if audience == FULL:
        return WHOLE
    stored = Stored.objects.filter(tenant=tenant, name=audience).first()
    if stored is not None:
        return Redaction(audience, frozenset(stored.withheld))
    if audience not in BUILT_IN:
        raise NotFound
    return Redaction(audience, frozenset(BUILT_IN[audience]))


def audiences(tenant: UUID) -> list[Redaction]:
    """Everyone a pack can be made for, `full` first. One query."""
    rules = {name: frozenset(words) for name, words in BUILT_IN.items()}
    rules.update({row.name: frozenset(row.withheld) for row in Stored.objects.filter(tenant=tenant).order_by("name")})
    return [Redaction(name, words) for name, words in rules.items()]


def check_words(words: list[str]) -> list[str]:
    """Sorted, each once. Raises Invalid for what names nothing that could be withheld."""
    for word in words:
        kind, _, name = word.partition(":")
        if kind not in KINDS or (kind == "people") == bool(name) or len(word) > 80:
            raise Invalid(
                f"{word[:80]!r} is nothing that can be withheld.",
                remedies=["Use people, private:NAME, private:*, artifact:KIND, context:KIND or context:*."],
            )
    return sorted(set(words))

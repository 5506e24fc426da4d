"""The keys that a tenant's heads and packs are signed with: Ed25519, private parts under the installation's key.

A key row authenticates itself: its private part is wrapped bound to tenant, id, public part and times, so a row that
was written or changed behind this module's back does not open, and nothing signed with it counts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import IntegrityError, transaction

from audit.database.clock import database_time
from audit.errors import Conflict, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.models import seals
from audit.seals import installation_key as installation
from audit.verify import signatures
from audit.verify.signatures import InvalidNote, Verifier

ACTOR = "system:sealer"
OVERLAP = timedelta(days=7)
"""For how long what an old key signed while it was being replaced still counts."""


@dataclass(frozen=True)
class SigningKey:
    """A tenant's current key. `key_id` is C2SP's, in hex; it is also the `keyid` of DSSE signatures."""

    tenant: UUID
    public: bytes
    private: bytes

    @property
    def name(self) -> str:
        return origin_of(self.tenant)

    @property
    def key_id(self) -> str:
        return Verifier(self.name, self.public).key_id.hex()

    @property
    def vkey(self) -> str:
        return Verifier(self.name, self.public).vkey

    def __repr__(self) -> str:
        return f"<{self.vkey}>"

    def sign(self, data: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.private).sign(data)

    def sign_note(self, text: str) -> str:
        return signatures.sign_text(text, self.name, bytes.fromhex(self.key_id), self.sign)


@dataclass(frozen=True)
class PublicKey(Verifier):
    """A key of a tenant's and when its signatures count: from `valid_from` until it ran out or was revoked."""

    valid_from: datetime
    valid_until: datetime | None
    revoked_at: datetime | None

    def counts_at(self, at: datetime) -> bool:
        ends = [end for end in (self.valid_until, self.revoked_at) if end]
        return self.valid_from <= at and all(at <= end for end in ends)


def origin_of(tenant: UUID) -> str:
    """The log's name, which its keys have too."""
    return f"interlock/{tenant}"


def signing_key(tenant: UUID) -> SigningKey:
    """The tenant's current key, made at its first use. Raises MissingKey, Undecryptable."""
    return current_key(tenant, key_rows([tenant])[tenant])


def key_rows(tenants: Collection[UUID]) -> dict[UUID, list[seals.SigningKey]]:
    """The stored keys of each of these tenants, oldest first. One query."""
    found: dict[UUID, list[seals.SigningKey]] = {tenant: [] for tenant in tenants}
    for row in seals.SigningKey.objects.filter(tenant__in=found).order_by("valid_from", "key_id"):
        found[row.tenant].append(row)
    return found


def current_key(tenant: UUID, rows: Sequence[seals.SigningKey]) -> SigningKey:
    """The current key among a tenant's, made if there is none. Raises MissingKey, Undecryptable."""
    row = next((row for row in rows if row.is_current), None)
    return _unwrap_key(row) if row else _make_first_key(tenant)


def public_keys(tenant: UUID) -> list[dict[str, Any]]:
    """Every key the tenant ever had, oldest first, for packs and whoever verifies: times are ISO 8601 in UTC, or None.

    Raises Undecryptable when a key's row is not what was stored.
    """
    return [
        {
            "vkey": key.vkey,
            "key_id": key.key_id.hex(),
            "valid_from": format_time(key.valid_from),
            "valid_until": format_time(key.valid_until),
            "revoked_at": format_time(key.revoked_at),
        }
        for key in verifiers(tenant)
    ]


def verifiers(tenant: UUID, rows: Sequence[seals.SigningKey] | None = None) -> list[PublicKey]:
    """The same as objects, from these rows or those in the database. Raises MissingKey, Undecryptable."""
    rows = key_rows([tenant])[tenant] if rows is None else rows
    for row in rows:
        _unwrap_key(row)
    name = origin_of(tenant)
    return [PublicKey(name, bytes(r.public), r.valid_from, r.valid_until, r.revoked_at) for r in rows]


def verify_head(note: str, keys: list[PublicKey]) -> signatures.TreeHead:
    """The tree head in this note, signed by one of these keys at a time when its signatures counted.

    Raises InvalidNote.
    """
    text, by = signatures.verify_note(note, keys)
    head = signatures.parse_tree_head(text)
    if head.origin != by[0].name:
        raise InvalidNote(f"it is a tree head of {head.origin}, signed by {by[0].name}")
    at = parse_time(head.extension("at"))
    if not any(key.counts_at(at) for key in by if isinstance(key, PublicKey)):
        raise InvalidNote(f"it was signed at {format_time(at)}, when its key was not valid")
    return head


def rotate(tenant: UUID, by: str = ACTOR, overlap: timedelta = OVERLAP) -> SigningKey:
    """Make a new current key; signatures by the one before count for `overlap` more. Event `signing_key.retired`."""
    with transaction.atomic():
        old = seals.SigningKey.objects.select_for_update().filter(tenant=tenant, is_current=True).first()
        now = database_time()
        if old is not None:
            _change_key(old, is_current=False, valid_until=now + overlap)
            _record_event(old, "signing_key.retired", by, {"valid_until": format_time(old.valid_until)})
        return _make_key(tenant, now, by)


def revoke(tenant: UUID, key_id: str, by: str = ACTOR) -> None:
    """From now on nothing signed with this key counts; what it signed before does. Event `signing_key.revoked`.

    A current key is replaced at once. Raises NotFound, Conflict when it is revoked already.
    """
    with transaction.atomic():
        row = seals.SigningKey.objects.select_for_update().filter(tenant=tenant, key_id=key_id).first()
        if row is None:
            raise NotFound
        if row.revoked_at:
            raise Conflict(f"The key {key_id} was revoked on {format_time(row.revoked_at)}.")
        now, was_current = database_time(), row.is_current
        _change_key(row, is_current=False, revoked_at=now)
        _record_event(row, "signing_key.revoked", by, {})
        if was_current:
            _make_key(tenant, now, by)


def rewrap(kek: bytes) -> tuple[int, int]:
    """Wrap under this installation key what is not yet; return (changed, all). The caller's transaction."""
    rows = list(seals.SigningKey.objects.select_for_update())
    behind = [row for row in rows if not installation.is_under(bytes(row.wrapped), kek)]
    for row in behind:
        row.wrapped = installation.wrap(_unwrap_private(row), _wrapping_context(row), kek)
    seals.SigningKey.objects.bulk_update(behind, ["wrapped"])
    return len(behind), len(rows)


def format_time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None


def parse_time(text: str) -> datetime:
    """Raises InvalidNote."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidNote("it has no signing time") from None
    if at.tzinfo is None:
        raise InvalidNote("it has no signing time")
    return at


def _make_first_key(tenant: UUID) -> SigningKey:
    """Two that come at once end with the same key."""
    try:
        with transaction.atomic():
            return _make_key(tenant, database_time(), ACTOR)
    except IntegrityError:
        return _unwrap_key(seals.SigningKey.objects.get(tenant=tenant, is_current=True))


def _make_key(tenant: UUID, now: datetime, by: str) -> SigningKey:
    private = Ed25519PrivateKey.generate()
    key = SigningKey(tenant, private.public_key().public_bytes_raw(), private.private_bytes_raw())
    row = seals.SigningKey(tenant=tenant, key_id=key.key_id, public=key.public, valid_from=now)
    row.wrapped = installation.wrap(key.private, _wrapping_context(row), installation.keks()[0])
    row.save(force_insert=True)
    _record_event(row, "signing_key.made", by, {"vkey": key.vkey})
    return key


def _change_key(row: seals.SigningKey, **changes: Any) -> None:
    """Write new times; the private part is bound to them, so it is wrapped anew."""
    private = _unwrap_private(row)
    for name, value in changes.items():
        setattr(row, name, value)
    row.wrapped = installation.wrap(private, _wrapping_context(row), installation.keks()[0])
    row.save(update_fields=["wrapped", *changes])


def _unwrap_key(row: seals.SigningKey) -> SigningKey:
    return SigningKey(row.tenant, bytes(row.public), _unwrap_private(row))


def _unwrap_private(row: seals.SigningKey) -> bytes:
    return installation.unwrap(bytes(row.wrapped), _wrapping_context(row), tuple(installation.keks()))


def _wrapping_context(row: seals.SigningKey) -> bytes:
    times = " ".join(str(format_time(at)) for at in (row.valid_from, row.valid_until, row.revoked_at))
    return b" ".join([b"signing key", row.tenant.bytes, row.key_id.encode(), bytes(row.public), times.encode()])


def _record_event(row: seals.SigningKey, verb: str, by: str, facts: dict[str, Any]) -> None:
    record(NewEvent(row.tenant, Subject("signing_key", row.pk), verb, by, facts={"key_id": row.key_id, **facts}))

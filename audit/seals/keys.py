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

from audit import kek as installation
from audit.clock import database_time
from audit.errors import Conflict, NotFound
from audit.events import Entry, Subject, record
from audit.seals import models, notes
from audit.seals.notes import BadNote, Verifier

BY = "system:sealer"
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
        return notes.signed(text, self.name, bytes.fromhex(self.key_id), self.sign)


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
    return current_key(tenant, rows_of([tenant])[tenant])


def rows_of(tenants: Collection[UUID]) -> dict[UUID, list[models.SigningKey]]:
    """The stored keys of each of these tenants, oldest first. One query."""
    found: dict[UUID, list[models.SigningKey]] = {tenant: [] for tenant in tenants}
    for row in models.SigningKey.objects.filter(tenant__in=found).order_by("valid_from", "key_id"):
        found[row.tenant].append(row)
    return found


def current_key(tenant: UUID, rows: Sequence[models.SigningKey]) -> SigningKey:
    """The current key among a tenant's, made if there is none. Raises MissingKey, Undecryptable."""
    row = next((row for row in rows if row.is_current), None)
    return _opened(row) if row else _first(tenant)


def public_keys(tenant: UUID) -> list[dict[str, Any]]:
    """Every key the tenant ever had, oldest first, for packs and whoever verifies: times are ISO 8601 in UTC, or None.

    Raises Undecryptable when a key's row is not what was stored.
    """
    return [
        {"vkey": key.vkey, "key_id": key.key_id.hex(), "valid_from": stamp(key.valid_from),
         "valid_until": stamp(key.valid_until), "revoked_at": stamp(key.revoked_at)}
        for key in verifiers(tenant)
    ]  # fmt: skip


def verifiers(tenant: UUID, rows: Sequence[models.SigningKey] | None = None) -> list[PublicKey]:
    """The same as objects, from these rows or those in the database. Raises MissingKey, Undecryptable."""
    rows = rows_of([tenant])[tenant] if rows is None else rows
    for row in rows:
        _opened(row)
    name = origin_of(tenant)
    return [PublicKey(name, bytes(r.public), r.valid_from, r.valid_until, r.revoked_at) for r in rows]


def check_head(note: str, keys: list[PublicKey]) -> notes.Checkpoint:
    """The checkpoint that this note is, signed by one of these keys at a time when its signatures counted.

    Raises BadNote, in words.
    """
    text, by = notes.verified(note, keys)
    head = notes.read_checkpoint(text)
    if head.origin != by[0].name:
        raise BadNote(f"it is a head of {head.origin}, signed by {by[0].name}")
    at = read_stamp(head.said("at"))
    if not any(key.counts_at(at) for key in by if isinstance(key, PublicKey)):
        raise BadNote(f"it says that it was signed at {stamp(at)}, when its key no longer, or not yet, counted")
    return head


def rotate(tenant: UUID, by: str = BY, overlap: timedelta = OVERLAP) -> SigningKey:
    """Make a new current key; signatures by the one before count for `overlap` more. Event `signing_key.retired`."""
    with transaction.atomic():
        old = models.SigningKey.objects.select_for_update().filter(tenant=tenant, is_current=True).first()
        now = database_time()
        if old is not None:
            _change(old, is_current=False, valid_until=now + overlap)
            _tell(old, "signing_key.retired", by, {"valid_until": stamp(old.valid_until)})
        return _made(tenant, now, by)


def revoke(tenant: UUID, key_id: str, by: str = BY) -> None:
    """From now on nothing signed with this key counts; what it signed before does. Event `signing_key.revoked`.

    A current key is replaced at once. Raises NotFound, Conflict when it is revoked already.
    """
    with transaction.atomic():
        row = models.SigningKey.objects.select_for_update().filter(tenant=tenant, key_id=key_id).first()
        if row is None:
            raise NotFound
        if row.revoked_at:
            raise Conflict(f"The key {key_id} was revoked on {stamp(row.revoked_at)}.")
        now, was_current = database_time(), row.is_current
        _change(row, is_current=False, revoked_at=now)
        _tell(row, "signing_key.revoked", by, {})
        if was_current:
            _made(tenant, now, by)


def rewrap(kek: bytes) -> tuple[int, int]:
    """Wrap under this installation key what is not yet; return (changed, all). The caller's transaction."""
    rows = list(models.SigningKey.objects.select_for_update())
    behind = [row for row in rows if not installation.is_under(bytes(row.wrapped), kek)]
    for row in behind:
        row.wrapped = installation.wrap(_private(row), _bound_to(row), kek)
    models.SigningKey.objects.bulk_update(behind, ["wrapped"])
    return len(behind), len(rows)


def stamp(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None


def read_stamp(text: str) -> datetime:
    """Raises BadNote."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadNote("it does not say when it was signed") from None
    if at.tzinfo is None:
        raise BadNote("it does not say when it was signed")
    return at


def _first(tenant: UUID) -> SigningKey:
    """Two that come at once end with the same key."""
    try:
        with transaction.atomic():
            return _made(tenant, database_time(), BY)
    except IntegrityError:
        return _opened(models.SigningKey.objects.get(tenant=tenant, is_current=True))


def _made(tenant: UUID, now: datetime, by: str) -> SigningKey:
    private = Ed25519PrivateKey.generate()
    key = SigningKey(tenant, private.public_key().public_bytes_raw(), private.private_bytes_raw())
    row = models.SigningKey(tenant=tenant, key_id=key.key_id, public=key.public, valid_from=now)
    row.wrapped = installation.wrap(key.private, _bound_to(row), installation.keks()[0])
    row.save(force_insert=True)
    _tell(row, "signing_key.made", by, {"vkey": key.vkey})
    return key


def _change(row: models.SigningKey, **changes: Any) -> None:
    """Write new times; the private part is bound to them, so it is wrapped anew."""
    private = _private(row)
    for name, value in changes.items():
        setattr(row, name, value)
    row.wrapped = installation.wrap(private, _bound_to(row), installation.keks()[0])
    row.save(update_fields=["wrapped", *changes])


def _opened(row: models.SigningKey) -> SigningKey:
    return SigningKey(row.tenant, bytes(row.public), _private(row))


def _private(row: models.SigningKey) -> bytes:
    return installation.unwrap(bytes(row.wrapped), _bound_to(row), tuple(installation.keks()))


def _bound_to(row: models.SigningKey) -> bytes:
    times = " ".join(str(stamp(at)) for at in (row.valid_from, row.valid_until, row.revoked_at))
    return b" ".join([b"signing key", row.tenant.bytes, row.key_id.encode(), bytes(row.public), times.encode()])


def _tell(row: models.SigningKey, verb: str, by: str, facts: dict[str, Any]) -> None:
    record(Entry(row.tenant, Subject("signing_key", row.pk), verb, by, facts={"key_id": row.key_id, **facts}))

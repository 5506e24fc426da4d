"""The sealed log: leaves, tiles, signed tree heads, keys, verifications; legal holds and archives."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7

TILE = 256  # hashes in a tile: eight levels of the tree


class Leaf(models.Model):
    """An event's place in its tenant's log. `hash` is the RFC 9162 leaf hash of its stored body."""

    event_id = models.BigIntegerField(primary_key=True)
    tenant = models.UUIDField()
    log_index = models.BigIntegerField()
    subject_id = models.UUIDField()
    seq = models.BigIntegerField()
    hash = models.BinaryField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "log_index"], name="audit_leaf_one_per_index"),
        ]
        indexes: ClassVar = [models.Index(fields=["subject_id", "seq"], name="audit_leaf_by_subject")]

    def __str__(self) -> str:
        return f"{self.log_index} of {self.tenant}"


class Tile(models.Model):
    """256 neighbouring nodes of a tree, all known and never to change: leaves on level 0, roots of tiles above it."""

    tenant = models.UUIDField()
    level = models.SmallIntegerField()
    n = models.BigIntegerField()
    hashes = models.BinaryField()
    root = models.BinaryField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "level", "n"], name="audit_tile_one_per_n")]

    def __str__(self) -> str:
        return f"{self.level}/{self.n} of {self.tenant}"


class SignedTreeHead(models.Model):
    """A signed head: the first `size` entries of the tenant's log have this root. `note` is what was signed."""

    tenant = models.UUIDField()
    number = models.BigIntegerField()
    size = models.BigIntegerField()
    root = models.BinaryField()
    at = models.DateTimeField()
    key_id = models.CharField(max_length=8)
    note = models.TextField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "number"], name="audit_signedtreehead_one_per_number"),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "size"], name="audit_signedtreehead_by_size")]

    def __str__(self) -> str:
        return f"#{self.number} of {self.tenant}"


class Tree(models.Model):
    """Where a tenant's log ends, and what the last verification found. Who seals holds this row.

    `halted` says why sealing stopped; `resume_from` is the id after which unsealed events are then to be looked for.
    """

    tenant = models.UUIDField(primary_key=True)
    size = models.BigIntegerField(default=0)
    frontier = models.BinaryField(default=b"")
    number = models.BigIntegerField(default=0)
    sealed_at = models.DateTimeField(null=True)
    halted = models.TextField(blank=True, default="")
    resume_from = models.BigIntegerField(null=True)
    verified_size = models.BigIntegerField(default=0)
    verified_at = models.DateTimeField(null=True)
    broken = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return f"{self.size} entries of {self.tenant}"


class Horizon(models.Model):
    """The one row that says up to which id every event is sealed, and nothing can be committed any more.

    `candidate` becomes the horizon when the transactions in `holders`, which may hold smaller ids, have ended.
    """

    horizon = models.BigIntegerField(default=0)
    candidate = models.BigIntegerField(null=True)
    holders = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return str(self.horizon)


class SigningKey(models.Model):
    """A tenant's Ed25519 key. `wrapped` binds the private part to everything else that is said here."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    tenant = models.UUIDField()
    key_id = models.CharField(max_length=8)
    public = models.BinaryField()
    wrapped = models.BinaryField()
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    is_current = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "key_id"], name="audit_key_one_per_id"),
            models.UniqueConstraint(fields=["tenant"], condition=Q(is_current=True), name="audit_key_one_current"),
        ]

    def __str__(self) -> str:
        return f"{self.key_id} of {self.tenant}"


class HeadTarget(models.Model):
    """Where a tenant's heads are sent, at most every `every_s` seconds, and how that went."""

    class Kind(models.TextChoices):
        FILE = "file", "a file on the server"
        HTTP = "http", "a web address"
        EMAIL = "email", "a mail address"

    tenant = models.UUIDField()
    kind = models.CharField(max_length=8, choices=Kind.choices)
    address = models.CharField(max_length=500, blank=True)
    every_s = models.PositiveIntegerField(default=3600)
    is_active = models.BooleanField(default=True)
    allow_private = models.BooleanField(default=False)
    published_number = models.BigIntegerField(default=0)
    published_size = models.BigIntegerField(default=0)
    published_at = models.DateTimeField(null=True)
    next_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    fault = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "kind", "address"], name="audit_target_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_at"], condition=Q(is_active=True), name="audit_target_due"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.address}".strip()


class Verification(models.Model):
    """One requested verification, run in slices: `state` is where it resumes, `report` its result."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"

    id = models.UUIDField(primary_key=True, default=uuid7)
    tenant = models.UUIDField()
    requested_by = models.CharField(max_length=64)
    depth = models.CharField(max_length=16)
    subject_id = models.UUIDField(null=True)
    first = models.BigIntegerField(default=0)
    upto = models.BigIntegerField(null=True)
    is_full = models.BooleanField(default=True)
    head = models.TextField(blank=True, default="")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.WAITING)
    position = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    state = models.JSONField(default=dict)
    report = models.JSONField(default=dict)
    broken = models.TextField(blank=True, default="")
    requested_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-requested_at"], name="audit_verification_by_tenant"),
            models.Index(fields=["requested_at"], condition=~Q(status="done"), name="audit_verification_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.depth} of {self.tenant}"


class PublicCheck(models.Model):
    """How often one address used the public verification page in one minute. The key is a keyed hash of the address."""

    key = models.CharField(max_length=64, primary_key=True)
    minute = models.BigIntegerField()
    count = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.count} in {self.minute}"


# What must stay, what was archived, and for how long a tenant keeps its log.


class LegalHold(models.Model):
    """While it stands, nothing of a subject (none: of the whole tenant) is pruned or erased."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    subject_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=500)
    set_by = models.CharField(max_length=64)
    set_at = models.DateTimeField(db_default=Now())
    lifted_by = models.CharField(max_length=64, blank=True)
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["tenant", "subject_id"], condition=Q(lifted_at=None), name="audit_legal_holds_standing"
            ),
        ]

    def __str__(self) -> str:
        return f"hold on {self.subject_id or 'everything'}"


class Retention(models.Model):
    """For how many days a tenant's events stay in the database at least; none: forever."""

    tenant = models.UUIDField(primary_key=True)
    keep_days = models.PositiveIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.tenant}: {self.keep_days or 'forever'}"


class Archive(models.Model):
    """
    A file with the sealed events `first` to `upto` (not included) of a tenant, and the head that was signed over them.

    `prunable` is set once the file was read back and verified; only then may what it covers leave the database.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    first = models.BigIntegerField()
    upto = models.BigIntegerField()
    file = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    made_at = models.DateTimeField(db_default=Now())
    prunable = models.BooleanField(default=False)
    pruned = models.BigIntegerField(default=0)
    pruned_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "first"], name="audit_archive_one_per_range"),
            models.CheckConstraint(name="audit_archive_has_events", condition=Q(upto__gt=models.F("first"))),
        ]

    def __str__(self) -> str:
        return f"{self.first}–{self.upto} of {self.tenant}"

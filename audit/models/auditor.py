"""What auditors work with: the search index, saved searches, reports, export streams, evidence packs."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.database.clock import uuid7


class IndexedEvent(models.Model):
    """One event's facts to filter and count by. `environment` and `type` are its subject's, on each of its events.

    Written by `audit.auditor.explore.index`, never in the transaction that records an event.
    """

    event = models.BigIntegerField(primary_key=True)
    tenant = models.UUIDField()
    at = models.DateTimeField()
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    environment = models.UUIDField(null=True)
    type = models.CharField(max_length=64, blank=True, default="")
    verb = models.CharField(max_length=64)
    outcome = models.CharField(max_length=32)
    actor = models.CharField(max_length=64)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "event"], name="audit_indexed_by_tenant"),
            models.Index(fields=["tenant", "at"], name="audit_indexed_by_time"),
            models.Index(fields=["tenant", "environment", "event"], name="audit_indexed_by_place"),
            models.Index(fields=["tenant", "verb", "event"], name="audit_indexed_by_verb"),
            models.Index(fields=["tenant", "actor", "event"], name="audit_indexed_by_actor"),
            models.Index(fields=["tenant", "type", "event"], name="audit_indexed_by_type"),
            models.Index(fields=["tenant", "subject_kind", "event"], name="audit_indexed_by_kind"),
            models.Index(
                fields=["tenant", "outcome", "event"], name="audit_indexed_by_outcome", condition=~Q(outcome="ok")
            ),
            models.Index(fields=["subject_id", "event"], name="audit_indexed_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} of {self.subject_kind} {self.subject_id}"


class Word(models.Model):
    """One word of one private value, case folded, as UTF-8: bytes compare alike on every database.

    A trigger takes a value's words away when the value is erased (`audit.database.guards`).
    """

    tenant = models.UUIDField()
    word = models.BinaryField(max_length=160)
    at = models.DateTimeField()
    subject_id = models.UUIDField()
    seq = models.BigIntegerField()
    name = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject_id", "seq", "name", "word"], name="audit_word_once")]
        indexes = [models.Index(fields=["tenant", "word", "at"], name="audit_word_by_tenant")]

    def __str__(self) -> str:
        return bytes(self.word).decode("utf-8", "replace")


class IndexCursor(models.Model):
    """How far the index has come: the one row. Every event up to `upto` is in it."""

    upto = models.BigIntegerField(default=0)
    moved_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"up to {self.upto}"


class SavedSearch(models.Model):
    """Somebody's search by name: the explorer's query string. `by` is a principal's id; others see what is shared."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    by = models.CharField(max_length=64)
    name = models.CharField(max_length=80)
    query = models.CharField(max_length=2000, blank=True, default="")
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "by", "name"], name="audit_search_name_once")]

    def __str__(self) -> str:
        return self.name


# Reports that were asked for: one run each, its file in parts, who gets it by mail, and what is made on a schedule.


FORMATS = [("pdf", "PDF"), ("csv", "CSV"), ("jsonl", "JSON lines")]


class ReportSchedule(models.Model):
    """A report made again for each week, month or quarter once that is over, and mailed. `by` must still audit then."""

    class Every(models.TextChoices):
        WEEK = "week", "every week"
        MONTH = "month", "every month"
        QUARTER = "quarter", "every quarter"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    kind = models.CharField(max_length=64)
    parameters = models.JSONField(default=dict)
    format = models.CharField(max_length=5, choices=FORMATS)
    every = models.CharField(max_length=7, choices=Every.choices)
    recipients = models.JSONField(default=list)
    by = models.CharField(max_length=64)
    next_at = models.DateTimeField()
    stopped_because = models.CharField(max_length=120, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["next_at"], name="audit_schedule_due", condition=Q(stopped_because="")),
            models.Index(fields=["tenant", "id"], name="audit_schedule_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.get_every_display()}"


class ReportRun(models.Model):
    """One making of one report. `head` is the sealed head it rests on; `sha256` and `size` are the finished file's.

    `claim` and `claimed_until` fence the worker that makes it; `done` counts rows while it runs.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    kind = models.CharField(max_length=64)
    parameters = models.JSONField(default=dict)
    format = models.CharField(max_length=5, choices=FORMATS)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.QUEUED)
    by = models.CharField(max_length=64)
    schedule = models.ForeignKey(ReportSchedule, models.SET_NULL, null=True, related_name="runs")
    requested_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    head = models.JSONField(default=dict)
    done = models.PositiveIntegerField(default=0)
    is_whole = models.BooleanField(default=True)
    sha256 = models.CharField(max_length=64, blank=True, default="")
    size = models.BigIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True, default="")
    attempts = models.PositiveSmallIntegerField(default=0)
    claim = models.UUIDField(null=True)
    claimed_until = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-id"], name="audit_run_by_tenant"),
            models.Index(
                fields=["requested_at"], name="audit_run_waiting", condition=Q(status__in=["queued", "running"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} as {self.format}: {self.status}"


class ReportPart(models.Model):
    """A piece of a finished report's file. Not an artifact: a report may hold what is erased later, and then goes."""

    run = models.ForeignKey(ReportRun, models.CASCADE, related_name="parts")
    n = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "n"], name="audit_report_part_once")]

    def __str__(self) -> str:
        return f"part {self.n}"


class ReportMail(models.Model):
    """One mail with one run to one address, written before it is sent, so that nobody gets it twice."""

    class Status(models.TextChoices):
        DUE = "due"
        SENT = "sent"
        FAILED = "failed"

    run = models.ForeignKey(ReportRun, models.CASCADE, related_name="mails")
    recipient = models.CharField(max_length=254)
    status = models.CharField(max_length=6, choices=Status.choices, default=Status.DUE)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True, default="")
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "recipient"], name="audit_report_mailed_once")]
        indexes = [models.Index(fields=["next_at"], name="audit_mail_due", condition=Q(status="due"))]

    def __str__(self) -> str:
        return f"mail of {self.run_id}"


# Where a tenant's events are sent on, how far that is, and what was given up.


class Stream(models.Model):
    """
    One receiver of a tenant's sealed events, in the order of the log.

    `position` is the first `log_index` that it has not taken. `verbs` are beginnings of verbs, such as `action.`; none
    is all. `secret` signs what a webhook gets, encrypted. `offset` is where a file ended, in bytes.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "CloudEvents to a web address"
        FILE = "file", "JSON lines in a file"
        SYSLOG = "syslog", "syslog (RFC 5424)"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    name = models.SlugField(max_length=64)
    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(max_length=500, blank=True)
    verbs = models.JSONField(default=list, blank=True)
    allow_private = models.BooleanField(default=False)
    secret = models.BinaryField(null=True)
    is_active = models.BooleanField(default=True)
    position = models.BigIntegerField(default=0)
    offset = models.BigIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    fault = models.CharField(max_length=300, blank=True)
    next_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    sent = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "name"], name="audit_stream_one_per_name")]
        indexes: ClassVar = [
            models.Index(fields=["next_at"], condition=Q(is_active=True), name="audit_stream_due"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


class DeadLetter(models.Model):
    """A dead letter: a range of the log that a stream did not deliver, `first` to `last`, both included. It can be
    sent again.
    """

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="dead_letters")
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    events = models.PositiveIntegerField()
    fault = models.CharField(max_length=300)
    at = models.DateTimeField(db_default=Now())
    resent_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["stream", "-id"], condition=Q(resent_at=None), name="audit_dead_letters"),
        ]

    def __str__(self) -> str:
        return f"{self.first}–{self.last} of {self.stream_id}"


# Packs that are built in the background, and what is withheld from whom.


class Audience(models.Model):
    """A tenant's own audience: what is withheld from it; see `audit.evidence.contents`."""

    tenant = models.UUIDField()
    name = models.SlugField(max_length=32)
    withheld = models.JSONField(default=list)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="audit_audience_one_per_name"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"


class PackJob(models.Model):
    """An evidence pack that is built in the background. Built once, kept for a day, in chunks of its own table.

    `lease` counts who builds it; who holds an older one has been given up and stores nothing. `done` of `total` tells
    the progress.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        BUILDING = "building"
        READY = "ready"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.UUIDField()
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    audience = models.CharField(max_length=32)
    form = models.CharField(max_length=8)
    requested_by = models.CharField(max_length=64)
    requested_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    lease = models.PositiveIntegerField(default=0)
    seen_at = models.DateTimeField(null=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    doing = models.CharField(max_length=60, blank=True)
    size = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    why = models.TextField(blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["tenant", "subject_id", "-requested_at"], name="audit_packjob_by_subject"),
            models.Index(
                fields=["requested_at"],
                condition=models.Q(state__in=["waiting", "building"]),
                name="audit_packjob_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.form} of {self.subject_kind} {self.subject_id}"


class PackChunk(models.Model):
    """One MiB of a built pack."""

    job = models.ForeignKey(PackJob, on_delete=models.CASCADE, related_name="chunks")
    n = models.IntegerField()
    data = models.BinaryField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "n"], name="audit_packchunk_one_per_n")]

    def __str__(self) -> str:
        return f"{self.n} of {self.job_id}"

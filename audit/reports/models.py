"""Reports that were asked for: one run each, its file in parts, who gets it by mail, and what is made on a schedule."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.ids import uuid7

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
    asked_at = models.DateTimeField()
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
            models.Index(fields=["asked_at"], name="audit_run_waiting", condition=Q(status__in=["queued", "running"])),
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

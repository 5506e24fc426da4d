"""What running steps have written so far: durable before their receipt is, and forgotten once that carries it."""

from typing import ClassVar

from django.db import models


class Said(models.Model):
    """
    Log lines of one attempt that has not ended yet, as one worker wrote them: `text` begins with line `first` (from 0).

    Written by `actions.run.live_log`, about once a second while there are new lines, fenced by the worker's lease. The
    line of the ledger that ends the attempt carries its whole log; from then on these rows count for nothing, and the
    sweep deletes them.
    """

    action = models.ForeignKey("actions.Action", models.CASCADE, related_name="said", db_index=False)
    step = models.CharField(max_length=200)
    attempt = models.PositiveSmallIntegerField()
    is_undo = models.BooleanField()
    first = models.PositiveIntegerField()
    lines = models.PositiveIntegerField()
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["action", "step", "attempt", "is_undo", "first"], name="each_line_said_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.step}: {self.lines} lines from {self.first}"

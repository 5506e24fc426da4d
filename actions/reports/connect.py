"""What this floor adds to the auditor's reports."""

from actions.reports import changes, duties, exceptions, verifications
from audit.auditor.reports.registry import register_report


def connect() -> None:
    for room in (changes, duties, exceptions, verifications):
        register_report(room.REPORT)

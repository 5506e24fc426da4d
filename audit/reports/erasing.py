"""What the auditor's pages keep of people, for who erases it: searches by name, and files that may hold their words."""

from uuid import UUID

from audit.clock import database_time
from audit.models import ReportMail, SavedSearch
from audit.reports.runs import forget_files
from audit.retention.erasure import register_eraser


def connect() -> None:
    register_eraser("searches", erase_searches)
    register_eraser("report_files", erase_files)


def erase_searches(tenant: UUID, person: UUID) -> int:
    return SavedSearch.objects.filter(tenant=tenant, by=str(person)).delete()[0]


def erase_files(tenant: UUID, person: UUID) -> int:
    """Every report's file of the tenant: nobody knows whose words are in it. The runs stay listed, and can be repeated.

    Mails that are not sent yet would carry what is gone, so they go too.
    """
    ReportMail.objects.filter(run__tenant=tenant, status="due").delete()
    return forget_files(tenant, database_time())

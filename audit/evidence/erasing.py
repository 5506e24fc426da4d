"""Packs that were built and wait to be fetched, for who erases a person's words: nobody knows whose are in them."""

from uuid import UUID

from audit.models import PackJob
from audit.retention.erasure import register_eraser


def connect() -> None:
    register_eraser("built_packs", forget_packs)


def forget_packs(tenant: UUID, person: UUID) -> int:
    """All of the tenant's; whoever waits asks again. One that is being built finds its job gone and stores nothing."""
    return PackJob.objects.filter(tenant=tenant).delete()[1].get("audit.PackJob", 0)

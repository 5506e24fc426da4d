"""The product's Celery application and, in its worker processes, the ledger executor besides the product's own."""

from contextlib import ExitStack
from typing import Any

from celery import signals

from config.celery import app as app  # what `celery -A` looks for

_registered = ExitStack()


@signals.worker_process_init.connect
def know_the_ledger(**_: Any) -> None:
    """Models must be loaded first, so the imports have to wait until here."""
    from actions.types import registry
    from tests.support.ledger_executor import LedgerExecutor

    _registered.enter_context(registry.register_executor(LedgerExecutor()))

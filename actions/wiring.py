"""Who listens to whom; connected once, when the apps are ready."""

from typing import Any

from celery import signals

from actions.announce import on_committed
from actions.gate import on_settled
from actions.lifecycle import committed
from actions.run.worker import let_go
from approvals.decisions import settled


def connect() -> None:
    settled.connect(on_settled, dispatch_uid="actions.gate")
    committed.connect(on_committed, dispatch_uid="actions.announce")
    signals.worker_process_shutdown.connect(_let_go, dispatch_uid="actions.let_go", weak=False)
    signals.worker_shutdown.connect(_let_go, dispatch_uid="actions.let_go.solo", weak=False)


def _let_go(**kwargs: Any) -> None:
    let_go()

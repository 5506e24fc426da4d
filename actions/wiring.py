"""Who listens to whom; connected once, when the apps are ready."""

from actions.announce import on_committed
from actions.gate import on_settled
from actions.lifecycle import committed
from actions.live import hints
from actions.naming import connect as connect_names
from approvals.decisions import settled


def connect() -> None:
    settled.connect(on_settled, dispatch_uid="actions.gate")
    committed.connect(on_committed, dispatch_uid="actions.announce")
    hints.connect()
    connect_names()

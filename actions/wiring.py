"""Who listens to whom; connected once, when the apps are ready."""

from actions import letting_go
from actions.announce import on_committed, on_said
from actions.gate import on_reopened, on_settled
from actions.lifecycle import committed
from actions.live import hints
from actions.naming import connect as connect_names
from actions.packed import connect as connect_packs
from actions.quarantine_keeper import DatabaseKeeper
from actions.rehearsal.gate import told
from actions.reports.connect import connect as connect_reports
from actions.run.live_log import said
from actions.types.clear_quarantine.keeper import register as quarantines_kept
from actions.types.config_change.gate import register as backtests_needed
from approvals.requests.decisions import request_decided
from approvals.requests.withdraw import request_reopened


def connect() -> None:
    request_decided.connect(on_settled, dispatch_uid="actions.gate")
    request_reopened.connect(on_reopened, dispatch_uid="actions.gate")
    committed.connect(on_committed, dispatch_uid="actions.announce")
    said.connect(on_said, dispatch_uid="actions.announce.said")
    hints.connect()
    backtests_needed(told)
    quarantines_kept(DatabaseKeeper())
    connect_names()
    connect_packs()
    letting_go.connect()
    connect_reports()

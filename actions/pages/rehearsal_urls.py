"""The addresses of the pages that try a draft of the rules: policy, retirement or matrix, by its id."""

from django.urls import path

from actions.models.backtest import KINDS
from actions.pages import rehearsal

PAGES = (
    ("rehearse", rehearsal.rehearse, "rehearse"),
    ("backtest", rehearsal.backtest, "backtest"),
    ("backtest/live", rehearsal.live, "backtest_live"),
    ("backtest/cancel", rehearsal.cancel, "cancel_backtest"),
)
urlpatterns = [
    path(f"rules/{kind}/<uuid:draft_id>/{address}/", view, {"kind": kind}, name=f"{name}_{kind}")
    for kind in KINDS
    for address, view, name in PAGES
]

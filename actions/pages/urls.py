"""The URLs of the pages. The URL of a fragment is below that of its page."""

from django.urls import path

from actions.models.backtest import KINDS
from actions.pages import queue
from actions.pages.action import changes, commands, new_action, review, run
from actions.pages.operations import incidents, quarantine, system
from actions.pages.policies import draft, matrix, policies, policy_editor

incident_urls = [
    path("incidents/", incidents.list_incidents, name="incidents"),
    path("incidents/<uuid:incident_id>/", incidents.show_incident, name="incident"),
    path("incidents/<uuid:incident_id>/diagnostics.json", incidents.download_diagnostics, name="incident_diagnostics"),
    path("incidents/<uuid:incident_id>/assign/", incidents.assign_incident, name="incident_assign"),
    path("incidents/<uuid:incident_id>/acknowledge/", incidents.acknowledge_incident, name="incident_acknowledge"),
    path("incidents/<uuid:incident_id>/decline/", incidents.decline_incident, name="incident_decline"),
    path("incidents/<uuid:incident_id>/resolve/", incidents.resolve_incident, name="incident_resolve"),
    path("incidents/<uuid:incident_id>/comments/", incidents.comment_on_incident, name="incident_comment"),
    path(
        "incidents/<uuid:incident_id>/deliveries/<uuid:delivery_id>/", incidents.resend_delivery, name="incident_resend"
    ),
]


# Policies and the approval matrix.


policy_urls = [
    path("policies/", policies.list_policies, name="policies"),
    path("policies/check/", policy_editor.check_policy, name="check_policy"),
    path("policies/new/", policy_editor.new_policy, name="new_policy"),
    path("policies/<uuid:policy_id>/", policies.show_policy, name="policy"),
    path("policies/drafts/<uuid:draft_id>/", policy_editor.edit_policy, name="policy_draft"),
    path(
        "policies/drafts/<uuid:draft_id>/abandon/",
        policy_editor.abandon_policy_draft,
        name="abandon_policy_draft",
    ),
    path("policies/matrix/", matrix.show_matrix, name="matrix"),
    path("policies/matrix/<slug:environment>/edit/", matrix.new_matrix_draft, name="edit_matrix"),
    path("policies/matrix/drafts/<uuid:draft_id>/", matrix.edit_matrix_draft, name="matrix_draft"),
    path("policies/matrix/drafts/<uuid:draft_id>/abandon/", matrix.abandon_matrix_draft, name="abandon_matrix_draft"),
]


# Drafts of a policy, a retirement or a matrix, by id: evaluate and backtest.


DRAFT_PAGES = (
    ("evaluate", draft.evaluate_draft, "evaluate"),
    ("backtest", draft.backtest_draft, "backtest"),
    ("backtest/live", draft.backtest_live, "backtest_live"),
    ("backtest/cancel", draft.cancel_draft_backtest, "cancel_backtest"),
)
draft_urls = [
    path(f"policies/{kind}/<uuid:draft_id>/{address}/", view, {"kind": kind}, name=f"{name}_{kind}")
    for kind in KINDS
    for address, view, name in DRAFT_PAGES
]


# Every page; the lists above are part of it.


urlpatterns = [
    path("", queue.queue_page, name="queue"),
    path("queue/live/", queue.queue_live, name="queue_live"),
    path("queue/more/<slug:group>/", queue.more_rows, name="queue_more"),
    path("approvals/", queue.inbox_page, name="approvals"),
    path("approvals/bulk/", queue.decide_in_bulk, name="bulk_decide"),
    path("system/", system.system_page, name="system"),
    path("system/breakers/<uuid:breaker_id>/reset/", system.reset_breaker_view, name="reset_breaker"),
    path("environments/<slug:slug>/", system.environment_page, name="environment"),
    path("environments/<slug:slug>/freeze/", system.freeze_environment, name="freeze_environment"),
    path("environments/<slug:slug>/unfreeze/", system.unfreeze_environment, name="unfreeze_environment"),
    path("prediction-accuracy/", system.prediction_accuracy_page, name="prediction_accuracy"),
    path("quarantine/", quarantine.quarantine_page, name="quarantine"),
    path("quarantine/<uuid:quarantine_id>/clear/", quarantine.clear_page, name="clear_quarantine"),
    *incident_urls,
    *policy_urls,
    *draft_urls,
    path("policies/policy/<uuid:draft_id>/propose/", draft.propose_draft, {"kind": "policy"}, name="propose_policy"),
    path(
        "policies/retire/<uuid:draft_id>/propose/", draft.propose_draft, {"kind": "retire"}, name="propose_retirement"
    ),
    path("policies/matrix/<uuid:draft_id>/propose/", draft.propose_draft, {"kind": "matrix"}, name="propose_matrix"),
    path("actions/new/", new_action.new_action, name="new_action"),
    path("actions/<uuid:action_id>/", review.review, name="action"),
    path("actions/<uuid:action_id>/preview/", queue.preview_panel, name="action_preview"),
    path("actions/<uuid:action_id>/live/", review.review_live, name="review_live"),
    path("actions/<uuid:action_id>/changes/", review.changes_page, name="changes"),
    path("actions/<uuid:action_id>/changes/<int:n>/", review.change_body, name="change"),
    path("actions/<uuid:action_id>/comments/", changes.add_comment, name="comment"),
    path(
        "actions/<uuid:action_id>/comments/<uuid:comment_id>/resolve/",
        changes.resolve_comment_thread,
        name="resolve_comment",
    ),
    path("actions/<uuid:action_id>/decide/", commands.decide_plan, name="decide"),
    path("actions/<uuid:action_id>/withdraw/", commands.withdraw_approval_view, name="withdraw"),
    path(
        "actions/<uuid:action_id>/withdraw-change-request/",
        commands.withdraw_change_request,
        name="withdraw_change_request",
    ),
    path("actions/<uuid:action_id>/accept/", commands.accept_plan_diff, name="accept"),
    path("actions/<uuid:action_id>/cancel/", commands.cancel_action, name="cancel"),
    path("actions/<uuid:action_id>/abort/", commands.abort_action, name="abort"),
    path("actions/<uuid:action_id>/resume/", commands.resume_action, name="resume"),
    path("actions/<uuid:action_id>/rollback/", commands.rollback_action, name="rollback"),
    path("actions/<uuid:action_id>/retry/", commands.retry_action, name="retry"),
    path("actions/<uuid:action_id>/explain/", review.explain_action, name="explain"),
    path("actions/<uuid:action_id>/evidence/", review.evidence, name="action_evidence"),
    path("actions/<uuid:action_id>/evidence/live/", review.evidence_live, name="action_evidence_live"),
    path("actions/<uuid:action_id>/evidence/<uuid:job_id>/", review.evidence_file, name="action_evidence_file"),
    path("actions/<uuid:action_id>/run/", run.run_page, name="run"),
    path("actions/<uuid:action_id>/run/live/", run.run_live, name="run_live"),
    path("actions/<uuid:action_id>/log", run.log_range, name="log"),
    path("actions/<uuid:action_id>/log.txt", run.log_download, name="log_text"),
]

"""The addresses of the pages about actions. Fragments are below the page that they belong to."""

from django.urls import path

from actions.pages import act, decision, impact, new, queue, review, rules, rules_urls, run, system, why

urlpatterns = [
    path("", queue.queue, name="queue"),
    path("queue/live/", queue.live, name="queue_live"),
    path("queue/more/<slug:group>/", queue.more, name="queue_more"),
    path("system/", system.system, name="system"),
    path("impact/", impact.impact, name="impact"),
    *rules_urls.urlpatterns,
    path("rules/policy/<uuid:draft_id>/propose/", rules.propose, {"kind": "policy"}, name="propose_policy"),
    path("rules/retire/<uuid:draft_id>/propose/", rules.propose, {"kind": "retire"}, name="propose_retirement"),
    path("rules/matrix/<uuid:draft_id>/propose/", rules.propose, {"kind": "matrix"}, name="propose_matrix"),
    path("actions/new/", new.new_action, name="new_action"),
    path("actions/<uuid:action_id>/", review.review, name="action"),
    path("actions/<uuid:action_id>/peek/", queue.peek, name="peek"),
    path("actions/<uuid:action_id>/live/", review.live, name="review_live"),
    path("actions/<uuid:action_id>/changes/", review.changes, name="changes"),
    path("actions/<uuid:action_id>/changes/<int:n>/", review.change, name="change"),
    path("actions/<uuid:action_id>/decide/", decision.decide, name="decide"),
    path("actions/<uuid:action_id>/withdraw/", decision.withdraw, name="withdraw"),
    path("actions/<uuid:action_id>/withdraw-ask/", decision.withdraw_ask, name="withdraw_ask"),
    path("actions/<uuid:action_id>/accept/", decision.accept_diff, name="accept"),
    path("actions/<uuid:action_id>/cancel/", act.cancel, name="cancel"),
    path("actions/<uuid:action_id>/abort/", act.abort, name="abort"),
    path("actions/<uuid:action_id>/resume/", act.resume, name="resume"),
    path("actions/<uuid:action_id>/rollback/", act.rollback, name="rollback"),
    path("actions/<uuid:action_id>/retry/", act.retry, name="retry"),
    path("actions/<uuid:action_id>/why/", why.why, name="why"),
    path("actions/<uuid:action_id>/run/", run.run, name="run"),
    path("actions/<uuid:action_id>/run/live/", run.live, name="run_live"),
    path("actions/<uuid:action_id>/log", run.log, name="log"),
    path("actions/<uuid:action_id>/log.txt", run.log_text, name="log_text"),
]

"""The addresses of the pages about rules. Proposing, rehearsing and backtesting a draft are beside them."""

from django.urls import path

from actions.pages import rules_editor, rules_history, rules_list, rules_matrix

urlpatterns = [
    path("rules/", rules_list.policies, name="policies"),
    path("rules/check/", rules_editor.check, name="check_policy"),
    path("rules/policies/new/", rules_editor.new, name="new_policy"),
    path("rules/policies/<uuid:policy_id>/", rules_history.policy, name="policy"),
    path("rules/policies/drafts/<uuid:draft_id>/", rules_editor.edit, name="policy_draft"),
    path("rules/policies/drafts/<uuid:draft_id>/abandon/", rules_editor.abandon, name="abandon_policy_draft"),
    path("rules/matrix/", rules_matrix.matrix, name="matrix"),
    path("rules/matrix/<slug:environment>/edit/", rules_matrix.edit, name="edit_matrix"),
    path("rules/matrix/drafts/<uuid:draft_id>/", rules_matrix.edit_draft, name="matrix_draft"),
    path("rules/matrix/drafts/<uuid:draft_id>/abandon/", rules_matrix.abandon, name="abandon_matrix_draft"),
]

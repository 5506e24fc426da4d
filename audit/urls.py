"""The addresses of the audit log."""

from django.urls import path

from audit import pages
from audit.explore import pages as explore
from audit.reports import pages as reports

app_name = "audit"
urlpatterns = [
    path("", pages.log, name="log"),
    path("subjects/<uuid:subject_id>/", explore.subject, name="subject"),
    path("events/<int:event_id>/", explore.event, name="event"),
    path("searches/", explore.searches, name="searches"),
    path("searches/<uuid:search_id>/", explore.saved_search, name="saved_search"),
    path("searches/<uuid:search_id>/delete/", explore.delete_search, name="delete_search"),
    path("reports/", reports.reports, name="reports"),
    path("controls/", reports.controls, name="controls"),
    path("<uuid:subject_id>/verify/", pages.verify, name="verify"),
    path("<uuid:subject_id>/evidence/", pages.evidence, name="evidence"),
]

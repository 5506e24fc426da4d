"""The addresses of the audit log."""

from django.urls import path

from audit import pages

app_name = "audit"
urlpatterns = [
    path("", pages.log, name="log"),
    path("<uuid:subject_id>/verify/", pages.verify, name="verify"),
    path("<uuid:subject_id>/evidence/", pages.evidence, name="evidence"),
]

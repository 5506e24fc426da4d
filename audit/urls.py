"""The addresses of the audit log."""

from django.urls import path, register_converter

from audit.auditor.explore import pages
from audit.auditor.log import event_page, subject_page
from audit.auditor.reports import pages as reports
from audit.auditor.streams import pages as streams
from audit.evidence import pages as evidence
from audit.retention import pages as retention
from audit.verification import pages as verification

register_converter(streams.VerbConverter, "stream_verb")
app_name = "audit"
urlpatterns = [
    path("", pages.log_page, name="log"),
    path("subjects/<uuid:subject_id>/", subject_page.subject_page, name="subject"),
    path("events/<int:event_id>/", event_page.event_page, name="event"),
    path("searches/", pages.save_search, name="searches"),
    path("searches/<uuid:search_id>/", pages.change_search, name="saved_search"),
    path("searches/<uuid:search_id>/delete/", pages.delete_search, name="delete_search"),
    path("reports/", reports.reports, name="reports"),
    path("reports/runs/<uuid:run_id>/", reports.run, name="run"),
    path("reports/runs/<uuid:run_id>/file/", reports.file, name="report_file"),
    path("reports/runs/<uuid:run_id>/cancel/", reports.cancel, name="cancel_report"),
    path("reports/schedules/<uuid:schedule_id>/delete/", reports.unschedule, name="unschedule_report"),
    path("reports/<slug:kind>/", reports.report, name="report"),
    path("reports/<slug:kind>/request/", reports.request_report, name="request_report"),
    path("reports/<slug:kind>/schedule/", reports.schedule, name="schedule_report"),
    path("controls/", reports.controls, name="controls"),
    path("retention/", retention.retention, name="retention"),
    path("retention/change/", retention.change_retention, name="change_retention"),
    path("archives/<uuid:archive_id>/", retention.download, name="archive"),
    path("verification/", verification.verification, name="verification"),
    path("verification/targets/", verification.add_target, name="add_head_target"),
    path("verification/targets/<int:target_id>/remove/", verification.remove_target, name="remove_head_target"),
    path("verification/heads/<int:number>/", verification.head, name="head"),
    path("streams/", streams.streams, name="streams"),
    path("streams/<uuid:stream_id>/<stream_verb:name>/", streams.verb, name="stream_verb"),
    path("<uuid:subject_id>/verify/", pages.verify_page, name="verify"),
    path("<uuid:subject_id>/evidence/", evidence.evidence, name="evidence"),
    path("<uuid:subject_id>/export/", evidence.export, name="export"),
    path("<uuid:subject_id>/export/live/", evidence.export_live, name="export_live"),
    path("<uuid:subject_id>/export/audience/", evidence.audience, name="audience"),
    path("<uuid:subject_id>/export/<uuid:job_id>/", evidence.export_file, name="export_file"),
]

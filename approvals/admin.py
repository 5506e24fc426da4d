"""The threshold matrix in the admin, to read: it is changed by drafting the next one and having that approved."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from approvals.judge import demand, words
from approvals.matrix import table
from approvals.models import TIERS, ApprovalRule
from approvals.people import holders_in
from approvals.policies.admin import MatrixDraftAdmin, PolicyVersionAdmin, places
from approvals.telling_admin import ApprovalSettingsAdmin, NotifyRuleAdmin
from approvals.weights_admin import BlastWeightsAdmin

__all__ = [
    "ApprovalRuleAdmin",
    "ApprovalSettingsAdmin",
    "BlastWeightsAdmin",
    "MatrixDraftAdmin",
    "NotifyRuleAdmin",
    "PolicyVersionAdmin",
]


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(admin.ModelAdmin):
    """Rows are written by actions, through `approvals.matrix`; never by the admin."""

    list_display = ("environment", "tier", "asks")
    list_select_related = ("environment",)
    change_list_template = "admin/approvals/approvalrule/change_list.html"
    fields = ("environment", "tier", "asks", "lacks")
    readonly_fields = fields

    @admin.display(description="asks")
    def asks(self, rule: ApprovalRule) -> str:
        return words(rule.seats) or "nobody"

    @admin.display(description="who is missing")
    def lacks(self, rule: ApprovalRule) -> str:
        """Roles that fewer people hold than the row asks for."""
        held = holders_in({rule.environment_id: rule.tenant_id})[rule.environment_id]
        few = [
            f"{count} × {role} asked, {len(held.get(role, ()))} hold it"
            for role, count in demand(rule.seats).items()
            if len(held.get(role, ())) < count
        ]
        return "; ".join(few) or "nobody"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApprovalRule]:
        return super().get_queryset(request).filter(environment__in=places(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return places(request).exists()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return places(request).filter(**({"pk": obj.environment_id} if obj else {})).exists()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        rows = table(places(request))
        for row in rows:
            address = reverse("admin:approvals_matrixdraft_add")
            row["draft_url"] = f"{address}?environment={row['environment'].pk}"
        return super().changelist_view(request, {**(extra_context or {}), "matrix": rows, "tiers": TIERS})

"""The threshold matrix in the admin, for those who administer the environment: every change leaves before and after."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from approvals.admin_form import RuleForm
from approvals.judge import demand, words
from approvals.matrix import drop_row, set_row, table
from approvals.models import TIERS, ApprovalRule
from approvals.people import holders_in
from tenants.access import access_for, tenants_of
from tenants.models import Environment, Role


def administered(request: HttpRequest) -> QuerySet[Environment]:
    """The environments that the signed-in person may administer, in all their tenants."""
    person = request.user
    if not person.is_authenticated:
        return Environment.objects.none()
    accesses = [access_for(person, tenant) for tenant in tenants_of(person)]
    ids = [pk for access in accesses for pk in access.environments_where("administer")]
    return Environment.objects.filter(pk__in=ids).select_related("tenant").order_by("tenant__slug", "slug")


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(admin.ModelAdmin):
    """Rows are written through `approvals.matrix`, never by the admin itself."""

    form = RuleForm
    list_display = ("environment", "tier", "asks")
    list_select_related = ("environment",)
    change_list_template = "admin/approvals/approvalrule/change_list.html"
    change_form_template = "admin/approvals/approvalrule/change_form.html"
    fields = ("environment", "tier", "seats", "asks_nobody")

    @admin.display(description="asks")
    def asks(self, rule: ApprovalRule) -> str:
        return words(rule.seats) or "nobody"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApprovalRule]:
        return super().get_queryset(request).filter(environment__in=administered(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("environment", "tier") if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        tenants = {obj.tenant_id} if obj else {place.tenant_id for place in administered(request)}
        names = Role.objects.filter(tenant__in=tenants).order_by("name").values_list("name", flat=True).distinct()
        made = super().get_form(request, obj, change, **kwargs)
        return type("RuleForm", (made,), {"roles": list(names)})

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "environment":
            kwargs["queryset"] = administered(request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return administered(request).exists()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return administered(request).filter(**({"pk": obj.environment_id} if obj else {})).exists()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    has_change_permission = has_delete_permission = has_view_permission

    def save_model(self, request: HttpRequest, obj: ApprovalRule, form: ModelForm, change: bool) -> None:
        rule = set_row(obj.environment, obj.tier, obj.seats, **_by(request))
        obj.pk, obj.tenant_id, obj._state.adding = rule.pk, rule.tenant_id, False
        for warning in _too_few(rule):
            self.message_user(request, warning, messages.WARNING)

    def delete_model(self, request: HttpRequest, obj: ApprovalRule) -> None:
        drop_row(obj, **_by(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApprovalRule]) -> None:
        for rule in queryset:
            drop_row(rule, **_by(request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        rows = table(administered(request))
        for row in rows:
            for cell in row["cells"]:
                cell["url"] = _address(row["environment"], cell)
        return super().changelist_view(request, {**(extra_context or {}), "matrix": rows, "tiers": TIERS})


def _by(request: HttpRequest) -> dict[str, str]:
    return {"by": str(request.user.pk), "correlation_id": getattr(request, "correlation_id", "")}


def _address(environment: Model, cell: dict[str, Any]) -> str:
    if cell["rule"]:
        return reverse("admin:approvals_approvalrule_change", args=[cell["rule"]])
    return f"{reverse('admin:approvals_approvalrule_add')}?environment={environment.pk}&tier={cell['tier']}"


def _too_few(rule: ApprovalRule) -> list[str]:
    """Roles that fewer people hold than the row asks for: until more do, nothing of this tier can be approved."""
    held = holders_in({rule.environment_id: rule.tenant_id})[rule.environment_id]
    return [
        f"This row asks for {count} × {role}, but {len(held.get(role, ()))} hold that role in {rule.environment.slug}: "
        "until more do, nothing of this tier can be approved."
        for role, count in demand(rule.seats).items()
        if len(held.get(role, ())) < count
    ]

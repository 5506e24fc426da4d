"""The weights of the blast radius in the admin: edited in place by who administers the whole tenant, with a reason."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from approvals.blast_factors import FACTORS
from approvals.policies.admin import accesses, via
from approvals.weighing import BlastWeights
from approvals.weights import MOST_REASON, set_weights
from tenants.models import Tenant


class WeightsForm(forms.ModelForm):
    reason = forms.CharField(
        max_length=MOST_REASON,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Why the weights change. Less weight may ask fewer people, so this is kept with the event.",
    )

    class Meta:
        model = BlastWeights
        fields: ClassVar[list[str]] = ["tenant", *FACTORS]


@admin.register(BlastWeights)
class BlastWeightsAdmin(admin.ModelAdmin):
    """A tenant without a row weighs every factor at 100; rows are never deleted, they are set back to 100."""

    form = WeightsForm
    list_display = ("tenant", "changed")
    list_select_related = ("tenant",)
    fields = ("tenant", *FACTORS, "reason")

    @admin.display(description="other than 100")
    def changed(self, row: BlastWeights) -> str:
        return ", ".join(f"{name} {percent} %" for name, percent in row.unusual().items()) or "none"

    def get_queryset(self, request: HttpRequest) -> QuerySet[BlastWeights]:
        return super().get_queryset(request).filter(tenant__in=_tenants(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant",) if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = Tenant.objects.filter(pk__in=_tenants(request), blast_weights=None)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(_tenants(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return Tenant.objects.filter(pk__in=_tenants(request), blast_weights=None).exists()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj.pk in _tenants(request) if obj else bool(_tenants(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: BlastWeights, form: Any, change: bool) -> None:
        said = form.cleaned_data
        percents = {name: said[name] for name in FACTORS}
        access = accesses(request)[obj.tenant_id]
        set_weights(obj.tenant, percents, said["reason"], by=access, correlation_id=via(request))
        obj._state.adding = False


def _tenants(request: HttpRequest) -> list[Any]:
    return [pk for pk, access in accesses(request).items() if access.can("administer")]

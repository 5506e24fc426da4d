"""The admin's forms of drafts: what is wrong is said beside its field, by the checks that hold everywhere."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django import forms

from approvals.admin_form import SeatsField
from approvals.errors import NotYoursToRule
from approvals.models import TIERS
from approvals.people import roles_that_approve
from approvals.policies.drafts import check_rows
from approvals.policies.models import MatrixDraft, PolicyVersion
from approvals.policies.rulers import permit
from approvals.policies.wording import Wording, refuse_faults, refuse_slug
from audit.errors import Invalid
from tenants.access import Access
from tenants.models import Tenant

DENIED, NOBODY, ROLES = "denied", "nobody", "roles"
SAYS = ((DENIED, "denied"), (NOBODY, "nobody is asked"), (ROLES, "these roles:"))


class VersionForm(forms.ModelForm):
    """A draft of a policy. `accesses` are the reader's, of the tenants that they administer."""

    accesses: Mapping[UUID, Access] = {}
    roles: Sequence[str] = ()
    home = forms.ModelChoiceField(Tenant.objects.none(), label="tenant")
    slug = forms.CharField(
        max_length=64, label="name", help_text="Such as no-deletes-in-prod; drafts of one name are versions."
    )
    everywhere = forms.BooleanField(required=False, help_text="A global policy: guards every tenant.")
    seats = SeatsField(help_text="For require: who has to approve besides.")

    class Meta:
        model = PolicyVersion
        fields = ("expression", "effect", "seats", "message", "overridable", "mode")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_new = self.instance._state.adding
        kept = [seat["role"] for seat in self.instance.seats if seat["role"] not in self.roles]
        self.fields["seats"] = SeatsField([*self.roles, *kept], help_text=self.fields["seats"].help_text)
        if self.is_new:
            choice = self.fields["home"]
            choice.queryset = Tenant.objects.filter(pk__in=self.accesses.keys())  # type: ignore[attr-defined]
            choice.initial = next(iter(self.accesses), None)
        else:
            for name in ("home", "slug", "everywhere"):
                self.fields.pop(name, None)

    def wording(self) -> Wording:
        said = self.cleaned_data
        return Wording(**{name: said[name] for name in VersionForm.Meta.fields})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        home = cleaned["home"] if self.is_new else self.instance.policy.home
        everywhere = cleaned["everywhere"] if self.is_new else self.instance.policy.is_global
        try:
            permit(self.accesses[home.pk], home, everywhere=everywhere)
            if self.is_new:
                refuse_slug(cleaned["slug"])
            refuse_faults(self.wording(), None if everywhere else roles_that_approve(home.pk))
        except NotYoursToRule as refused:
            self.add_error("everywhere" if self.is_new else None, refused.detail)
        except Invalid as invalid:
            add_issues(self, invalid)
        return cleaned


def _says(tier: str) -> forms.ChoiceField:
    return forms.ChoiceField(choices=SAYS, label=tier)


class MatrixDraftForm(forms.ModelForm):
    """A draft of the whole matrix of one environment: for each tier what it says, and the roles where it asks some."""

    roles: Sequence[str] = ()
    low_says, low_seats = _says("low"), SeatsField()
    medium_says, medium_seats = _says("medium"), SeatsField()
    high_says, high_seats = _says("high"), SeatsField()
    critical_says, critical_seats = _says("critical"), SeatsField()
    TIER_FIELDS = tuple(f"{tier}_{part}" for tier in TIERS for part in ("says", "seats"))

    class Meta:
        model = MatrixDraft
        fields = ("environment",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = self.initial.get("rows", self.instance.rows) or {}
        for tier in TIERS:
            seats = rows.get(tier)
            asked = SeatsField([*self.roles, *_unknown(seats, self.roles)], label=f"{tier}: roles", initial=seats or [])
            self.fields[f"{tier}_says"].initial = DENIED if seats is None else ROLES if seats else NOBODY
            self.fields[f"{tier}_seats"] = asked

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        rows: dict[str, Any] = {}
        for tier in TIERS:
            says, seats = cleaned[f"{tier}_says"], cleaned[f"{tier}_seats"]
            if bool(seats) != (says == ROLES):
                self.add_error(f"{tier}_says", "Name roles where roles are asked, and nowhere else.")
            elif says != DENIED:
                rows[tier] = seats
        place = cleaned.get("environment") or self.instance.environment
        try:
            check_rows(place, rows)
        except Invalid as invalid:
            for issue in invalid.extra["issues"]:
                self.add_error(f"{issue['field'].removeprefix('rows.')}_seats", issue["message"])
        cleaned["rows"] = rows
        return cleaned


def add_issues(form: forms.BaseForm, invalid: Invalid) -> None:
    """Put each issue beside its field, with its line and column where it has them."""
    for issue in invalid.extra["issues"]:
        where = f"Line {issue['line']}, column {issue['column']}: " if "line" in issue else ""
        form.add_error(issue["field"] if issue["field"] in form.fields else None, where + issue["message"])


def _unknown(seats: Sequence[Mapping[str, Any]] | None, roles: Sequence[str]) -> list[str]:
    return sorted({seat["role"] for seat in seats or ()} - set(roles))

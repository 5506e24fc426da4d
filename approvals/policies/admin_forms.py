"""The admin's forms for drafts: each error is shown beside its field, from the checks that the API uses too."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from approvals.errors import MayNotChangeRules
from approvals.models import TIERS, MatrixDraft, PolicyVersion
from approvals.policies.drafts import check_rows
from approvals.policies.permissions import require_may_change_policies
from approvals.policies.policy_text import PolicyText, require_valid_slug, require_valid_text
from audit.errors import Invalid
from tenants.access import Access
from tenants.models import Tenant
from tenants.roles import approving_roles_in_tenant

ROLE_LINES = 5  # roles in one row
MAX_PEOPLE = 20  # people of one role


class RequiredApprovalsWidget(forms.MultiWidget):
    """ROLE_LINES lines of a role and a count."""

    def __init__(self, roles: Sequence[str] = ()) -> None:
        choices = [("", "no further role"), *((role, role) for role in roles)]
        line = (
            lambda: forms.Select(choices=choices),
            lambda: forms.NumberInput(attrs={"min": 1, "max": MAX_PEOPLE, "placeholder": "people"}),
        )
        super().__init__([make() for _ in range(ROLE_LINES) for make in line])

    def decompress(self, value: Any) -> list[Any]:
        pairs = [(required["role"], required["count"]) for required in value or []]
        pairs += [("", None)] * (ROLE_LINES - len(pairs))
        return [part for pair in pairs[:ROLE_LINES] for part in pair]

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """One paragraph per line, each control with a name for screen readers."""
        values = value if value and not any(isinstance(v, dict) for v in value) else self.decompress(value)
        controls = [
            widget.render(
                f"{name}_{n}",
                part,
                {"id": f"id_{name}_{n}", "aria-label": f"{'people' if n % 2 else 'role'} {n // 2 + 1}"},
                renderer,
            )
            for n, (widget, part) in enumerate(zip(self.widgets, values, strict=True))
        ]
        lines = [(controls[n], controls[n + 1]) for n in range(0, len(controls), 2)]
        return format_html("<div>{}</div>", format_html_join("", "<p>{} × {}</p>", ((b, a) for a, b in lines)))


class RequiredApprovalsField(forms.MultiValueField):
    """Required approvals as the model keeps them: [{"role", "count"}], without the empty lines."""

    def __init__(self, roles: Sequence[str] = (), **kwargs: Any) -> None:
        line = (
            lambda: forms.CharField(required=False),
            lambda: forms.IntegerField(required=False, min_value=1, max_value=MAX_PEOPLE),
        )
        fields = [make() for _ in range(ROLE_LINES) for make in line]
        super().__init__(
            fields, widget=RequiredApprovalsWidget(roles), required=False, require_all_fields=False, **kwargs
        )

    def compress(self, data_list: list[Any]) -> list[dict[str, Any]]:
        required_approvals = []
        for role, count in zip(data_list[::2], data_list[1::2], strict=True):
            if role and not count:
                raise forms.ValidationError(f"Enter how many people of the role {role}.")
            if count and not role:
                raise forms.ValidationError(f"Choose the role of these {count} people.")
            if role:
                required_approvals.append({"role": role, "count": count})
        return required_approvals


DENIED, NOBODY, ROLES = "denied", "nobody", "roles"
ROW_CHOICES = ((DENIED, "denied"), (NOBODY, "no approval"), (ROLES, "these roles"))


class PolicyVersionForm(forms.ModelForm):
    """A draft of a policy. `accesses` are the reader's, of the tenants that they administer."""

    accesses: Mapping[UUID, Access] = {}
    roles: Sequence[str] = ()
    home = forms.ModelChoiceField(Tenant.objects.none(), label="tenant")
    slug = forms.CharField(
        max_length=64, label="name", help_text="Such as no-deletes-in-prod; drafts of one name are versions."
    )
    everywhere = forms.BooleanField(required=False, help_text="A global policy: guards every tenant.")
    required_approvals = RequiredApprovalsField(help_text="For require: the additional approvals.")

    class Meta:
        model = PolicyVersion
        fields = ("expression", "effect", "required_approvals", "message", "overridable", "mode")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_new = self.instance._state.adding
        kept = [required["role"] for required in self.instance.required_approvals if required["role"] not in self.roles]
        self.fields["required_approvals"] = RequiredApprovalsField(
            [*self.roles, *kept], help_text=self.fields["required_approvals"].help_text
        )
        if self.is_new:
            choice = self.fields["home"]
            choice.queryset = Tenant.objects.filter(pk__in=self.accesses.keys())  # type: ignore[attr-defined]
            choice.initial = next(iter(self.accesses), None)
        else:
            for name in ("home", "slug", "everywhere"):
                self.fields.pop(name, None)

    def policy_text(self) -> PolicyText:
        values = self.cleaned_data
        return PolicyText(**{name: values[name] for name in PolicyVersionForm.Meta.fields})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        home = cleaned["home"] if self.is_new else self.instance.policy.home
        everywhere = cleaned["everywhere"] if self.is_new else self.instance.policy.is_global
        try:
            require_may_change_policies(self.accesses[home.pk], home, everywhere=everywhere)
            if self.is_new:
                require_valid_slug(cleaned["slug"])
            require_valid_text(self.policy_text(), None if everywhere else approving_roles_in_tenant(home.pk))
        except MayNotChangeRules as refused:
            self.add_error("everywhere" if self.is_new else None, refused.detail)
        except Invalid as invalid:
            add_issues(self, invalid)
        return cleaned


def _row_choice(tier: str) -> forms.ChoiceField:
    return forms.ChoiceField(choices=ROW_CHOICES, label=tier)


class MatrixDraftForm(forms.ModelForm):
    """A draft of the whole matrix of one environment: the rule of each tier, and its roles if it requires approvals."""

    roles: Sequence[str] = ()
    low_rule, low_required_approvals = _row_choice("low"), RequiredApprovalsField()
    medium_rule, medium_required_approvals = _row_choice("medium"), RequiredApprovalsField()
    high_rule, high_required_approvals = _row_choice("high"), RequiredApprovalsField()
    critical_rule, critical_required_approvals = _row_choice("critical"), RequiredApprovalsField()
    TIER_FIELDS = tuple(f"{tier}_{part}" for tier in TIERS for part in ("rule", "required_approvals"))

    class Meta:
        model = MatrixDraft
        fields = ("environment",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = self.initial.get("rows", self.instance.rows) or {}
        for tier in TIERS:
            required_approvals = rows.get(tier)
            field = RequiredApprovalsField(
                [*self.roles, *_unknown_roles(required_approvals, self.roles)],
                label=f"{tier}: roles",
                initial=required_approvals or [],
            )
            self.fields[f"{tier}_rule"].initial = (
                DENIED if required_approvals is None else ROLES if required_approvals else NOBODY
            )
            self.fields[f"{tier}_required_approvals"] = field

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        rows: dict[str, Any] = {}
        for tier in TIERS:
            rule, required_approvals = cleaned[f"{tier}_rule"], cleaned[f"{tier}_required_approvals"]
            if bool(required_approvals) != (rule == ROLES):
                self.add_error(f"{tier}_rule", "Name roles only where approvals are required.")
            elif rule != DENIED:
                rows[tier] = required_approvals
        place = cleaned.get("environment") or self.instance.environment
        try:
            check_rows(place, rows)
        except Invalid as invalid:
            for issue in invalid.extra["issues"]:
                self.add_error(f"{issue['field'].removeprefix('rows.')}_required_approvals", issue["message"])
        cleaned["rows"] = rows
        return cleaned


def add_issues(form: forms.BaseForm, invalid: Invalid) -> None:
    """Put each issue beside its field, with its line and column where it has them."""
    for issue in invalid.extra["issues"]:
        where = f"Line {issue['line']}, column {issue['column']}: " if "line" in issue else ""
        form.add_error(issue["field"] if issue["field"] in form.fields else None, where + issue["message"])


def _unknown_roles(required_approvals: Sequence[Mapping[str, Any]] | None, roles: Sequence[str]) -> list[str]:
    return sorted({required["role"] for required in required_approvals or ()} - set(roles))

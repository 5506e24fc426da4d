"""Change a password, or set it through a link."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import views
from django.contrib.auth.forms import PasswordResetForm
from django.http import HttpResponse
from django.urls import reverse_lazy
from django.views.generic import FormView

from tenants.audit_hooks.events import record_on_principal
from tenants.authentication.throttle import count_failure, wait_s
from tenants.models import Principal
from tenants.pages.sign_in import address_of

PURPOSE = "password-reset"


class ChangePassword(views.PasswordChangeView):
    """Other sessions end; this one continues with a new key. Event `principal.password_changed`."""

    template_name = "registration/password_change.html"
    success_url = reverse_lazy("password_change")

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        record_on_principal(form.user, "principal.password_changed", form.user)
        messages.success(self.request, "Password changed. Your other sessions are signed out.")
        return response


class ResetForm(PasswordResetForm):
    """Sends mail to active people with this address, including those without a password. Agents have none."""

    def get_users(self, email: str) -> Any:
        people = Principal.objects.filter(email__iexact=email, is_active=True, kind=Principal.Kind.PERSON)
        return (person for person in people if person.email.casefold() == email.casefold())


class ResetPassword(views.PasswordResetView):
    """The answer is always the same, for unknown addresses and throttled ones too."""

    template_name = "registration/password_reset.html"
    email_template_name = "registration/password_reset_email.txt"
    subject_template_name = "registration/password_reset_subject.txt"
    success_url = reverse_lazy("password_reset_done")
    form_class = ResetForm

    def form_valid(self, form: Any) -> HttpResponse:
        email, address = form.cleaned_data["email"], address_of(self.request)
        if wait_s(PURPOSE, email, address):
            return FormView.form_valid(self, form)
        count_failure(PURPOSE, email, address)
        return super().form_valid(form)


class ResetSent(views.PasswordResetDoneView):
    template_name = "registration/password_reset_done.html"


class SetPassword(views.PasswordResetConfirmView):
    """A link works once, for PASSWORD_RESET_TIMEOUT. Event `principal.password_set`."""

    template_name = "registration/password_set.html"
    success_url = reverse_lazy("sign-in")

    def get_user(self, uidb64: str) -> Principal | None:
        user = super().get_user(uidb64)
        return user if isinstance(user, Principal) and user.is_person() and user.is_active else None

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        record_on_principal(form.user, "principal.password_set", form.user)
        messages.success(self.request, "Password set. Sign in with it.")
        return response

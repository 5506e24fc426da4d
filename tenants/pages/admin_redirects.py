"""The admin's own doors lead to ours: they would know no throttle and leave no event. Mounted before the admin site."""

from django.contrib.auth.decorators import login_required
from django.urls import path
from django.views.generic import RedirectView

from tenants.pages.sign_in import sign_out

urlpatterns = [
    path("login/", RedirectView.as_view(pattern_name="sign-in", query_string=True)),
    path("logout/", sign_out),
    path("password_change/", login_required(RedirectView.as_view(pattern_name="password_change"))),
]

"""The root URLs. A floor's pages are one line here, its API routes are listed in `config.http.api`."""

from django.contrib import admin
from django.urls import include, path

from audit.verification.pages import public_verification
from config.http.api import api
from config.http.health import healthz, metrics, readyz
from tenants.pages.urls import admin_redirects

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", include(admin_redirects)),
    path("admin/", admin.site.urls),
    path("api/", api.urls),
    path("audit/", include("audit.urls")),
    path("verify/", public_verification, name="verify"),
    path("", include("tenants.pages.urls")),
    path("", include("actions.pages.urls")),
]

handler400 = "config.http.problems.handler_400"
handler403 = "config.http.problems.handler_403"
handler404 = "config.http.problems.handler_404"
handler500 = "config.http.problems.handler_500"

"""Wiring only. What can differ between installations is in env.py."""

import logging

from csp.constants import NONE, SELF

from config.env import BASE_DIR, load
from config.services.celery_settings import *  # noqa: F403
from config.services.celery_settings import broker_settings, every_seconds
from config.services.logs import logging_settings
from config.services.service_urls import database_settings, mail_settings

INTERLOCK = load()
INTERLOCK_KEK = INTERLOCK.kek
INTERLOCK_KEK_NEW = INTERLOCK.kek_new
REDIS_URL = INTERLOCK.redis
LOGGING = logging_settings(INTERLOCK.log_level)
DEBUG = INTERLOCK.debug
SECRET_KEY = INTERLOCK.secret_key
ALLOWED_HOSTS = INTERLOCK.allowed_hosts
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "guardian",
    "django_htmx",
    "django_structlog",
    "config",
    "audit",
    "tenants",
    "approvals",
    "actions",
]
MIDDLEWARE = [
    "config.http.middleware.CorrelationMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.http.graceful_shutdown.ShutdownMiddleware",
    "config.http.middleware.NulMiddleware",
    "config.http.middleware.BodyLimitMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tenants.authentication.middleware.AccessMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.http.middleware.RequestLog",
    "django_htmx.middleware.HtmxMiddleware",
    "config.http.problems.ProblemMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "actions.pages.context_processors.page_frame",
            ],
        },
    },
]

DATABASES = {"default": database_settings(INTERLOCK.database_url, INTERLOCK.var)}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL}]},
    }
}
CELERY_BROKER_URL = INTERLOCK.broker
globals().update(broker_settings(INTERLOCK.broker))
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"  # keeps nothing between runs: a time of day would be all there is
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "actions.tasks.sweep",
        "schedule": every_seconds(INTERLOCK.sweep_s),
        "options": {"expires": INTERLOCK.sweep_s * 4},
    },
    "notify": {"task": "approvals.tasks.notify", "schedule": every_seconds(10), "options": {"expires": 30.0}},
    "reports": {"task": "audit.tasks.reports", "schedule": every_seconds(10), "options": {"expires": 30.0}},
    "packs": {"task": "audit.tasks.packs", "schedule": every_seconds(10), "options": {"expires": 30.0}},
    "index": {"task": "audit.tasks.index", "schedule": every_seconds(3), "options": {"expires": 9.0}},
    "stream": {"task": "audit.tasks.stream", "schedule": every_seconds(5), "options": {"expires": 15.0}},
    "publish_heads": {"task": "audit.tasks.publish_heads", "schedule": every_seconds(10), "options": {"expires": 30.0}},
    "verify": {"task": "audit.tasks.verify", "schedule": every_seconds(10), "options": {"expires": 30.0}},
    "seal": {"task": "audit.tasks.seal", "schedule": every_seconds(INTERLOCK.seal_s), "options": {"expires": 10.0}},
}

AUTH_USER_MODEL = "tenants.Principal"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"]
ANONYMOUS_USER_NAME = None  # guardian: nobody is nobody
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "CommonPasswordValidator", "NumericPasswordValidator")
] + [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    }
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = LOGIN_URL
PASSWORD_RESET_TIMEOUT = 24 * 3600

SESSION_COOKIE_NAME = "interlock_session"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = INTERLOCK.https
CSRF_FAILURE_VIEW = "config.http.problems.stale_form"
CSRF_COOKIE_NAME = "interlock_csrf"
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS if host != "*"] if INTERLOCK.https else []
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if INTERLOCK.https else None
SECURE_HSTS_SECONDS = 31_536_000 if INTERLOCK.https else 0
SECURE_SSL_REDIRECT = INTERLOCK.https
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# 'self' in connect-src covers ws:// and wss:// to the same host (CSP Level 3).
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        **{f"{kind}-src": [SELF] for kind in ("script", "style", "img", "font", "connect")},
        "form-action": [SELF],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024  # the largest parameters, escaped; more is refused with 413

STATIC_URL = "static/"
STATIC_ROOT = INTERLOCK.var / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
COLLECTED = "whitenoise.storage.CompressedManifestStaticFilesStorage"
AS_WRITTEN = "django.contrib.staticfiles.storage.StaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": COLLECTED if INTERLOCK.static == "collected" else AS_WRITTEN},
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = INTERLOCK.static == "source"
WHITENOISE_KEEP_ONLY_HASHED_FILES = True

DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_CELERY_ENABLED = False  # a wake-up carries no context; the runner binds each action's own
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False  # a proxy logs addresses if you need them; ours would be the proxy's

globals().update(mail_settings(INTERLOCK.email_url, INTERLOCK.var))
DEFAULT_FROM_EMAIL = INTERLOCK.email_from

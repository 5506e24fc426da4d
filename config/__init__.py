"""Wiring: settings, URLs, ASGI, Celery, set-up. Nothing below imports it."""

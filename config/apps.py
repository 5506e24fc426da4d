from django.apps import AppConfig

from config import celery
from config.run import checks

__all__ = ["celery", "checks"]  # loading them makes the Celery application current and registers the checks


class ConfigConfig(AppConfig):
    name = "config"

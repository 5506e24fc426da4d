"""Logs: one line of `key=value` per event on stdout, whoever wrote it, with the correlation id where there is one."""

from typing import Any

import structlog

SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def drop_empty(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Leave out keys that say nothing, and django-structlog's own id: the correlation id is the one we follow."""
    return {key: value for key, value in event.items() if value is not None and key != "request_id"}


FORMATTER = {
    "()": structlog.stdlib.ProcessorFormatter,
    "foreign_pre_chain": [*SHARED, structlog.stdlib.ExtraAdder(allow=())],
    "processors": [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        drop_empty,
        structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
    ],
}


def logging_settings(level: str) -> dict[str, Any]:
    """Django's LOGGING; also tells structlog to hand its events to the standard library."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            *SHARED[1:],
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    quiet = {"level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"key_value": FORMATTER},
        "handlers": {
            "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "key_value"}
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.request": {"level": "ERROR"},  # the request line says it already
            "django.channels.server": quiet,
            "django.server": {"handlers": [], "propagate": True, **quiet},
            "daphne": quiet,
            "twisted": quiet,
            "asyncio": quiet,
            "celery": quiet,  # a line per wake-up says nothing
            "kombu": quiet,
            "amqp": quiet,
        },
    }

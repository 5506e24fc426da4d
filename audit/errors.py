"""Problems: errors that a person or a program can act on (RFC 9457). A class's docstring is its default message."""

from typing import Any, ClassVar


class Problem(Exception):
    """Internal error. Nothing was changed; try again."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "problem"

    def __init__(self, detail: str = "", *, remedies: list[str] | None = None, **extra: Any) -> None:
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        self.remedies = remedies or []
        self.extra = extra
        super().__init__(self.detail)

    def as_dict(self) -> dict[str, Any]:
        """The problem document: type, title, status, code, detail, remedies, and what the class adds."""
        title = self.code.replace("_", " ").capitalize()
        return {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "remedies": self.remedies,
            **self.extra,
        }


class NotFound(Problem):
    """Not found, or you have no access."""

    status, code = 404, "not_found"


class Unauthenticated(Problem):
    """Sign in, or send a valid API token as `Authorization: Bearer …`."""

    status, code = 401, "unauthenticated"


class Forbidden(Problem):
    """You are not allowed to do this."""

    status, code = 403, "forbidden"


class Conflict(Problem):
    """No longer possible: the state changed. Reload."""

    status, code = 409, "conflict"


class Invalid(Problem):
    """The request is not valid; see `issues`."""

    status, code = 422, "invalid"


class TooLarge(Problem):
    """The request is too large."""

    status, code = 413, "too_large"


class Unavailable(Problem):
    """Temporarily unavailable. Nothing was changed; try again shortly."""

    status, code = 503, "unavailable"


class NotBuilt(Problem):
    """Not implemented yet."""

    status, code = 501, "not_built"

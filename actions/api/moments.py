"""Points in time as callers give them: with a zone, and within what both databases can hold."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _within_reach(moment: datetime) -> datetime:
    if not 2000 <= moment.year <= 9000:
        raise ValueError("Give a time between the years 2000 and 9000.")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_within_reach)]


def milliseconds_of(moment: datetime) -> int:
    """Since 1970, in UTC."""
    return int(moment.timestamp() * 1000)

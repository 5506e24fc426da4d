"""NUL in an address is refused by every route, never an error of ours: PostgreSQL cannot store it."""

import re

import pytest
from django.test import Client

from tests.house.routes import routes

pytestmark = pytest.mark.dialect
SAMPLES = {"uuid": "0192f0c1-2345-7abc-8def-0123456789ab", "int": "1", "slug": "prod", "str": "x", "path": "x"}


def address(route: str) -> str:
    """A route with something plausible in place of its parameters."""
    plain = re.sub(r"\(\?P<\w+>[^)]*\)", "x", route)
    plain = re.sub(r"<(?:(\w+):)?\w+>", lambda found: SAMPLES.get(found[1] or "str", "x"), plain)
    return "/" + re.sub(r"[\^$\\]", "", plain)


@pytest.mark.parametrize("route", routes())
def test_nul_in_the_query_or_the_path_is_never_an_error_of_ours(member: Client, route: str) -> None:
    where = address(route)
    for path, expected in ((f"{where}?q=a%00b", {404, 405, 422}), (f"{where.rstrip('/')}%00/", {404})):
        for call in (member.get, member.post):
            assert call(path).status_code in expected, path


@pytest.fixture
def member(cast) -> Client:
    client = Client()
    client.force_login(cast.operator)
    return client

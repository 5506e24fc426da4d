"""GET /api/actions/{id}/evidence"""

import pytest
from django.test import AsyncClient

from actions.live.news import database_async
from audit.verify.__main__ import main

pytestmark = pytest.mark.django_db(transaction=True)


def completed(program, carry) -> str:
    action = program("operator").propose(accept=True)
    carry()
    return f"/api/actions/{action['id']}/evidence"


def test_who_may_view_an_action_may_take_its_evidence_and_it_verifies(program, carry, tmp_path):
    path = completed(program, carry)
    got = program("approver").client.get(path)
    assert (got.status_code, got["Content-Type"]) == (200, "application/zip")
    file = tmp_path / "evidence.zip"
    file.write_bytes(b"".join(got.streaming_content))
    assert file.stat().st_size == int(got["Content-Length"])
    assert main([str(file)]) == 0
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert main([str(file)]) == 1


async def test_it_is_sent_piece_by_piece_under_asgi_too(program, place, carry):
    path = await database_async(completed)(program, carry)
    token = await database_async(place.token)("auditor")
    response = await AsyncClient().get(path, headers={"Authorization": f"Bearer {token}"})
    data = b"".join([piece async for piece in response.streaming_content])
    assert len(data) == int(response["Content-Length"]) and data[:2] == b"PK"

"""The explorer over HTTP."""

from audit.auditor.explore.index import run_slice
from tests.audit.test_explorer import DAY, change


def test_facets_search_and_filters_say_what_the_page_says(cast):
    right = change(cast, "Renew the certificate", "It expires")
    change(cast, "Rotate the logs", "They expire too", environment=cast.dev)
    run_slice()
    program = cast.api("auditor")
    day = DAY.date().isoformat()
    found = program.get("/api/audit-logs/search", {"q": "expires", "around": day, "days": 1}).json()
    assert [item["subject"]["id"] for item in found["items"]] == [str(right.id)] and found["next"] is None
    assert found["items"][0]["requested_by"] == "Operator" and found["items"][0]["matched"] == ["expires"]
    counted = program.get("/api/audit-logs/facets", {"around": day, "kind": "action"}).json()
    assert counted["total"] == 4 and {f["label"] for f in counted["facets"]["environment"]} == {"prod", "dev"}
    listed = program.get("/api/audit-logs", {"environment": cast.dev.pk, "kind": "action"}).json()
    assert {item["verb"] for item in listed["items"]} == {"action.submitted", "action.preflight"}
    for path in ("facets", "search?q=a"):
        assert cast.api("operator").get(f"/api/audit-logs/{path}").status_code == 403
    assert program.get("/api/audit-logs/search").status_code == 422


def test_searches_are_kept_over_http(cast):
    program, json = cast.api("auditor"), {"content_type": "application/json"}
    made = program.post("/api/audit-searches", {"name": "Mine", "query": "q=certificate&open=1"}, **json)
    assert made.status_code == 201 and made.json()["address"] == "/audit/?q=certificate"
    here = f"/api/audit-searches/{made.json()['id']}"
    other = cast.api("admin")
    assert other.get("/api/audit-searches").json() == [] and other.delete(here).status_code == 404
    assert program.patch(here, {"is_shared": True}, **json).json()["is_shared"]
    assert [found["is_mine"] for found in other.get("/api/audit-searches").json()] == [False]
    assert program.delete(here).status_code == 204 and program.delete(here).status_code == 404

"""Prediction accuracy of the actions that ended in a period, per action type and tier, aggregated by the database."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet, Sum

from actions.models.action import PredictionAccuracy
from approvals.blast.score import LEVELS
from audit.database.clock import database_time

PERIODS = (7, 30, 90, 365)
"""Selectable periods in days."""
USUAL_DAYS = 30
MAX_TYPES = 100
SUMMED = ("runs", "completed", "rolled_back", "failed", "score", "checked", "mismatched", "predicted", "verified", "ms")


def accuracy_report(environments: Iterable[UUID], days: int = USUAL_DAYS) -> list[dict[str, Any]]:
    """
    A row per action type that ran in these environments, the most run first.

    {"type", "runs", "completed", "rolled_back", "failed" (counts and `*_percent`), "score" (mean), "checked" (runs that
    were verified), "predicted", "verified" (mean changes of those; None without any), "duration_s" (mean),
    "tiers": [{"tier", "runs", "checked", "mismatched", "percent"}]}. Two queries, over an index.
    """
    since = database_time() - timedelta(days=days)
    rows = _summed(PredictionAccuracy.objects.filter(environment__in=list(environments), ended_at__gte=since))
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        kind = found.setdefault(row["type"], {"type": row["type"], "tiers": []} | dict.fromkeys(SUMMED, 0))
        for name in SUMMED:
            kind[name] += row[name] or 0
        kind["tiers"].append(_tier_row(row))
    ordered = sorted(found.values(), key=lambda kind: (-kind["runs"], kind["type"]))[:MAX_TYPES]
    return [_type_row(kind) for kind in ordered]


def _summed(rows: QuerySet[PredictionAccuracy]) -> Iterable[Mapping[str, Any]]:
    ran = rows.order_by().values("type", "tier")
    checked = Q(checks__isnull=False)
    return ran.annotate(
        runs=Count("pk"),
        completed=Count("pk", filter=Q(state="completed")),
        rolled_back=Count("pk", filter=Q(state="rolled_back")),
        failed=Count("pk", filter=Q(state="failed")),
        score=Sum("score"),
        checked=Count("pk", filter=checked),
        mismatched=Count("pk", filter=Q(checks_failed__gt=0)),
        predicted=Sum("predicted_changes", filter=checked),
        verified=Sum("verified_changes", filter=checked),
        ms=Sum(F("duration_ms")),
    )


def _tier_row(row: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: row[name] for name in ("tier", "runs", "checked", "mismatched")}
    return {**known, "percent": percent(row["mismatched"], row["checked"])}


def _type_row(kind: dict[str, Any]) -> dict[str, Any]:
    runs, checked = kind["runs"], kind["checked"]
    return {
        **{name: kind[name] for name in ("type", "runs", "completed", "rolled_back", "failed", "checked")},
        **{f"{name}_percent": percent(kind[name], runs) for name in ("completed", "rolled_back", "failed")},
        "score": round(kind["score"] / runs),
        "predicted": round(kind["predicted"] / checked, 1) if checked else None,
        "verified": round(kind["verified"] / checked, 1) if checked else None,
        "duration_s": round(kind["ms"] / runs / 1000, 3),
        "tiers": sorted(kind["tiers"], key=lambda row: LEVELS.index(row["tier"]) if row["tier"] in LEVELS else 9),
    }


def percent(part: int, whole: int) -> int | None:
    """A share in whole per cent; None of nothing. Never 0 % if it happened, never 100 % if it failed to happen once."""
    if not whole:
        return None
    if 0 < part < whole:
        return min(99, max(1, round(part * 100 / whole)))
    return 100 if part else 0

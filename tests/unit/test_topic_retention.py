"""Until when a topic holds what is on it now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forebay.operations.topic_retention import held_until

NOW = datetime(2026, 11, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("retention_ms", "segment_ms", "policy", "wanted"),
    [
        ("600000", "300000", "delete", NOW + timedelta(minutes=20)),
        ("600000", "300000", "compact,delete", NOW + timedelta(minutes=20)),
        ("-1", "300000", "delete", None),
        ("600000", "300000", "compact", None),
        ("9223372036854775807", "1", "delete", None),
    ],
)
def test_a_segment_is_filled_then_kept(
    retention_ms: str, segment_ms: str, policy: str, wanted: datetime | None
) -> None:
    settings = {"retention.ms": retention_ms, "segment.ms": segment_ms, "cleanup.policy": policy}
    assert held_until(settings, NOW) == wanted

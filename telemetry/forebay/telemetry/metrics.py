"""Metrics that workers and gateways have in common, for Prometheus.

Names and buckets are those of OpenTelemetry's semantic conventions for messaging, written as Prometheus writes them.
"""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

from forebay.schemas.version import VERSION

MESSAGING_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The conventions' histogram buckets for messaging durations, in seconds."""
OTHER = "other"
"""Replaces a label's value once the label has as many different values as allowed."""

BUILD_INFO = Gauge("forebay_build_info", "Always 1; its label tells the version", ["version"])
SENT = Counter(
    "messaging_client_sent_messages_total",
    "Records that were given to Kafka, refused ones included",
    ["messaging_system", "messaging_operation_name", "messaging_destination_name", "error_type"],
)
OPERATION = Histogram(
    "messaging_client_operation_duration_seconds",
    "From giving records to Kafka to its acknowledgement",
    ["messaging_system", "messaging_operation_name", "messaging_destination_name", "error_type"],
    buckets=MESSAGING_SECONDS,
)


class Names:
    """Bounds the number of a label's values: the first ``most``, then `OTHER` for all others."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        """The label value for this name."""
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name


def sent(topic: str, records: int, seconds: float, error: BaseException | None = None) -> None:
    """Counts records that were sent together, and measures the time until they were acknowledged or failed."""
    count, duration = _sending(topic, type(error).__name__ if error else "")
    count.inc(records)
    duration.observe(seconds)


def tell_version() -> None:
    """Sets `BUILD_INFO`."""
    BUILD_INFO.labels(VERSION).set(1)


@lru_cache(maxsize=256)
def _sending(topic: str, error: str) -> tuple[Counter, Histogram]:
    """Finding a child by its labels costs more than counting in it."""
    labels = "kafka", "send", topic, error
    return SENT.labels(*labels), OPERATION.labels(*labels)

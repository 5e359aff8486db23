"""The gateway's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ACCEPTED = Counter("forebay_gateway_turns_accepted_total", "Turns that Kafka has acknowledged", ["api"])
REFUSED = Counter("forebay_gateway_refused_total", "Requests that were refused", ["code"])
ACKNOWLEDGED = Histogram(
    "forebay_gateway_acknowledged_seconds",
    "From taking a turn to Kafka's acknowledgement",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
UNACKNOWLEDGED = Gauge("forebay_gateway_turns_unacknowledged", "Turns that wait for Kafka's acknowledgement")
CONNECTIONS = Gauge("forebay_gateway_connections", "Open event streams and WebSockets")
DELTAS_DROPPED = Counter("forebay_gateway_deltas_dropped_total", "Deltas that a reader was too slow for")
OVERRUN = Counter("forebay_gateway_readers_closed_total", "Readers that took nothing for too long")
STREAMING = Gauge("forebay_gateway_streaming", "1 while turns are streamed, 0 while they are answered whole")
WHOLE = Counter("forebay_gateway_turns_answered_whole_total", "Turns that asked to be streamed and are answered whole")
ADMISSION_USED = Gauge(
    "forebay_gateway_admission_used_ratio",
    "How full the tightest bound of all callers together is (turns a second, unacknowledged turns, connections); 1 refuses",
)
WAIT = Gauge("forebay_gateway_estimated_wait_seconds", "Estimated waiting of a new turn, at most")
WAITING = Gauge("forebay_gateway_turns_waiting", "Turns in the topic that are not done")
RESUMED = Counter("forebay_gateway_resumed_total", "Connections that went on with an event id")

"""The worker's metrics, for Prometheus. Names end in their unit; labels are few and bounded."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from schemas import Usage

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

TURNS = Counter("spillway_turns_total", "Turns that ended, by outcome", ["outcome"])
DEAD_LETTERS = Counter("spillway_dead_letters_total", "Dead letters, by reason", ["reason"])
QUEUED = Histogram("spillway_queued_seconds", "From a record's timestamp to the start of its answer", buckets=_SECONDS)
ANSWERING = Histogram("spillway_answering_seconds", "From the start of an answer to its reply", buckets=_SECONDS)
MODEL_ERRORS = Counter(
    "spillway_model_errors_total", "Model calls that failed, by what went wrong", ["upstream", "trouble"]
)
CALLS_IN_FLIGHT = Gauge("spillway_model_calls_in_flight", "Model calls under way")
CONCURRENCY_LIMIT = Gauge("spillway_concurrency_limit", "Model calls that the providers are believed to take at once")
BREAKER = Gauge(
    "spillway_breaker_open", "Whether a model is left alone: 0 no, 0.5 one call tries it, 1 yes", ["upstream"]
)
HEDGES = Counter("spillway_hedged_calls_total", "Second calls beside one that took unusually long")
BUDGET_USED = Gauge("spillway_budget_used_ratio", "Share of the tightest spending ceiling that is used; 1 is all of it")
QUOTA_LEFT = Gauge("spillway_quota_left_ratio", "Share of a key's rate limit that is left", ["upstream"])
TOKENS = Counter("spillway_tokens_total", "Tokens of model calls", ["model", "kind"])
COST = Counter("spillway_cost_usd_total", "Spending on models", ["model"])
TOOL_CALLS = Counter("spillway_tool_calls_total", "Tools that models asked for, by outcome", ["tool", "outcome"])
SUMMARIES = Counter("spillway_summaries_total", "Summaries made of long conversations")
LEFT_OUT = Counter(
    "spillway_history_left_out_bytes_total", "Bytes of conversations that their windows kept from models"
)
STORE_ERRORS = Counter("spillway_store_errors_total", "Times the store did not answer")
IN_FLIGHT = Gauge("spillway_turns_in_flight", "Turns that hold a permit")
WAITING = Gauge("spillway_turns_waiting", "Turns in memory that wait for their conversation or a permit")
UNPUBLISHED = Gauge("spillway_records_unacknowledged", "Records published and not yet acknowledged")
PARTITIONS = Gauge("spillway_partitions_owned", "Partitions this worker owns")
REBALANCES = Counter("spillway_rebalances_total", "Rebalances of the group seen by this worker")
DAMAGED_MAPS = Counter("spillway_completion_maps_ignored_total", "Commit metadata that was foreign or damaged")
UNREADABLE = Counter("spillway_records_unreadable_total", "Records that the Kafka client could not read")
LOOP_LAG = Gauge("spillway_loop_lag_seconds", "How late the event loop ran its last timer")
LOOP_BLOCKED = Counter("spillway_loop_blocked_total", "Times the event loop, or the whole process, stood still")
OLDEST_TURN = Gauge("spillway_oldest_turn_in_flight_seconds", "Age of the turn that has been in flight longest")
COMMIT_AGE = Gauge("spillway_commit_age_seconds", "How long turns that are done have waited for a commit that succeeds")
GROUP_MEMBER = Gauge("spillway_group_member", "Whether this worker is in its group with its share of the partitions")
ALARM = Gauge("spillway_alarm", "Whether the watchdog has this alarm", ["code"])


def spent(model: str, usage: Usage, cost_usd: float | None) -> None:
    """Counts the tokens and the money of one call."""
    TOKENS.labels(model, "input").inc(usage.input_tokens)
    TOKENS.labels(model, "output").inc(usage.output_tokens)
    TOKENS.labels(model, "cache_read").inc(usage.cache_read_tokens)
    COST.labels(model).inc(cost_usd or 0.0)

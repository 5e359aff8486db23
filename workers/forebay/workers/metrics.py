"""The worker's metrics, for Prometheus. Names end in their unit; labels are few and bounded.

Where OpenTelemetry's semantic conventions have a metric (GenAI, messaging), its name and buckets are theirs, written as
Prometheus writes them; all others begin with ``forebay_``. docs/observability.md has the table.
"""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

from forebay.schemas import Usage
from forebay.telemetry.metrics import MESSAGING_SECONDS, Names

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_GEN_AI_SECONDS = tuple(0.01 * 2**step for step in range(14))
_GEN_AI_TOKENS = tuple(4**step for step in range(14))
_MODEL = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"]
MODELS = Names(64)
"""An assistant, or its list of fallbacks, may name as many models as it likes."""
UPSTREAMS = Names(128)
TOOLS = Names(256)
"""An MCP server may offer other tools every hour."""

TURNS = Counter("forebay_turns_total", "Turns that ended, by outcome", ["outcome"])
DEAD_LETTERS = Counter("forebay_dead_letters_total", "Dead letters, by reason", ["reason"])
QUEUED = Histogram("forebay_queued_seconds", "From a record's timestamp to the start of its answer", buckets=_SECONDS)
ANSWERING = Histogram("forebay_answering_seconds", "From the start of an answer to its reply", buckets=_SECONDS)
MODEL_ERRORS = Counter(
    "forebay_model_errors_total", "Model calls that failed, by what went wrong", ["upstream", "trouble"]
)
CALLS_IN_FLIGHT = Gauge("forebay_model_calls_in_flight", "Model calls under way")
CONCURRENCY_LIMIT = Gauge(
    "forebay_concurrency_limit", "Estimated number of model calls that the providers take at once"
)
BREAKER = Gauge(
    "forebay_breaker_open", "Circuit breaker of a model: 0 closed, 0.5 one call tries it, 1 open", ["upstream"]
)
HEDGES = Counter("forebay_hedged_calls_total", "Second calls beside one that took unusually long")
BUDGET_USED = Gauge("forebay_budget_used_ratio", "Share of the tightest spending ceiling that is used; 1 is all of it")
QUOTA_LEFT = Gauge("forebay_quota_left_ratio", "Share of a key's rate limit that is left", ["upstream"])
TOKENS = Counter("forebay_tokens_total", "Tokens of model calls", ["model", "kind"])
COST = Counter("forebay_cost_usd_total", "Spending on models", ["model"])
TOOL_CALLS = Counter("forebay_tool_calls_total", "Tools that models asked for, by outcome", ["tool", "outcome"])
SUMMARIES = Counter("forebay_summaries_total", "Summaries made of long conversations")
LEFT_OUT = Counter(
    "forebay_history_left_out_bytes_total", "Bytes of conversations that the windows left out of prompts"
)
STORE_ERRORS = Counter("forebay_store_errors_total", "Times the store did not answer")
CALLS = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "Model calls: from the request to the end of the answer; error_type is empty where there was one",
    [*_MODEL, "error_type"],
    buckets=_GEN_AI_SECONDS,
)
FIRST_CHUNK = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "Streamed model calls: from the request to the first words",
    _MODEL,
    buckets=_GEN_AI_SECONDS,
)
TOKEN_USAGE = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of one model call; input counts those that came from the provider's cache",
    [*_MODEL, "gen_ai_token_type"],
    buckets=_GEN_AI_TOKENS,
)
TOOL_SECONDS = Histogram(
    "gen_ai_execute_tool_duration_seconds",
    "Runs of tools; error_type is empty where one returned",
    ["gen_ai_tool_name", "error_type"],
    buckets=_GEN_AI_SECONDS,
)
CONSUMED = Counter(
    "messaging_client_consumed_messages_total",
    "Records that were fetched from Kafka",
    ["messaging_system", "messaging_operation_name", "messaging_destination_name", "messaging_consumer_group_name"],
)
PROCESSED = Histogram(
    "messaging_process_duration_seconds",
    "From the start of an answer to its reply; error_type is a dead letter's reason",
    [
        "messaging_system",
        "messaging_operation_name",
        "messaging_destination_name",
        "messaging_consumer_group_name",
        "error_type",
    ],
    buckets=MESSAGING_SECONDS,
)
IN_FLIGHT = Gauge("forebay_turns_in_flight", "Turns that hold a permit")
WAITING = Gauge("forebay_turns_waiting", "Turns in memory that wait for their conversation or a permit")
OLDEST_WAITING = Gauge(
    "forebay_oldest_waiting_turn_seconds", "Age of the oldest turn that was fetched and has not begun; 0 without any"
)
UNPUBLISHED = Gauge("forebay_records_unacknowledged", "Records published and not yet acknowledged")
PARTITIONS = Gauge("forebay_partitions_owned", "Partitions this worker owns")
REBALANCES = Counter("forebay_rebalances_total", "Rebalances of the group seen by this worker")
DAMAGED_MAPS = Counter("forebay_completion_maps_ignored_total", "Commit metadata that was foreign or damaged")
UNREADABLE = Counter("forebay_records_unreadable_total", "Records that the Kafka client could not read")
LOOP_LAG = Gauge("forebay_loop_lag_seconds", "How late the event loop ran its last timer")
LOOP_BLOCKED = Counter("forebay_loop_blocked_total", "Times the event loop, or the whole process, stood still")
OLDEST_TURN = Gauge("forebay_oldest_turn_in_flight_seconds", "Age of the turn that has been in flight longest")
COMMIT_AGE = Gauge("forebay_commit_age_seconds", "How long turns that are done have waited for a commit that succeeds")
GROUP_MEMBER = Gauge("forebay_group_member", "Whether this worker is in its group with its share of the partitions")
ALARM = Gauge("forebay_alarm", "Whether the watchdog has this alarm", ["code"])
WEBHOOKS = Counter(
    "forebay_webhooks_total",
    "Replies for webhooks that were settled: delivered, dead_letter, or skipped for want of a destination that wants them",
    ["destination", "outcome"],
)
WEBHOOK_SECONDS = Histogram(
    "forebay_webhooks_attempt_seconds",
    "Requests to webhooks' servers; trouble is empty where the server took it",
    ["destination", "trouble"],
    buckets=_SECONDS,
)
WEBHOOK_BREAKER = Gauge(
    "forebay_webhooks_breaker_open",
    "Circuit breaker of a destination: 0 closed, 0.5 one request tries it, 1 open",
    ["destination"],
)
WEBHOOKS_WAITING = Gauge(
    "forebay_webhooks_waiting", "Replies that wait for a destination or are being sent", ["destination"]
)
OLDEST_WEBHOOK = Gauge(
    "forebay_webhooks_oldest_seconds", "Age of the oldest of these replies; 0 without any", ["destination"]
)


def spent(model: str, usage: Usage, cost_usd: float | None) -> None:
    """Counts the tokens and the money of one call; ``model`` is one of `MODELS`."""
    read, written, cached, cost = _spending(model)
    read.inc(usage.input_tokens)
    written.inc(usage.output_tokens)
    cached.inc(usage.cache_read_tokens)
    cost.inc(cost_usd or 0.0)


# Finding a child by its labels costs more than counting in it.


@lru_cache(maxsize=128)
def _spending(model: str) -> tuple[Counter, Counter, Counter, Counter]:
    read, written, cached = (TOKENS.labels(model, kind) for kind in ("input", "output", "cache_read"))
    return read, written, cached, COST.labels(model)


@lru_cache(maxsize=1024)
def calls_of(provider: str, model: str, error: str) -> Histogram:
    """`CALLS` of one model that ended so; ``model`` is one of `MODELS`."""
    return CALLS.labels("chat", provider, model, error)


@lru_cache(maxsize=128)
def tokens_of(provider: str, model: str) -> tuple[Histogram, Histogram]:
    """`TOKEN_USAGE` of one model, (input, output)."""
    return TOKEN_USAGE.labels("chat", provider, model, "input"), TOKEN_USAGE.labels("chat", provider, model, "output")


@lru_cache(maxsize=128)
def first_chunk_of(provider: str, model: str) -> Histogram:
    """`FIRST_CHUNK` of one model."""
    return FIRST_CHUNK.labels("chat", provider, model)


@lru_cache(maxsize=64)
def processed(topic: str, group: str, error: str) -> Histogram:
    """`PROCESSED` of one topic and group that ended so."""
    return PROCESSED.labels("kafka", "process", topic, group, error)

"""Findings: what an operator should look at now, and where the runbook says what to do. Pure.

One judgement for the console and `forebay status`. The alerts in k8s/monitoring bear the same codes: `breaker-open` is
the alert ForebayBreakerOpen and the runbook's section #breaker-open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from forebay.schemas import WorkerState

RUNBOOK = "docs/runbook.md"
"""Its sections are named by the codes."""

BUDGET_NEAR = 0.8
"""Share of a spending ceiling: time to raise it before nothing is answered any more."""
BUDGET_SPENT = 0.98
"""A call whose estimate does not fit is not made, so that it is never quite all."""
FAILED_SHARE = 0.02
"""Share of the last replies with an error, above which it is a finding."""
BADLY_FAILED_SHARE = 0.1
LEAST_REPLIES = 5
"""Fewest replies whose share of errors means something."""
MANY_DEAD_LETTERS = 10
"""Dead letters in ten minutes that mean a bug or a rejected prompt, not one bad turn."""
QUOTA_LOW = 0.1
"""Share of a key's rate limit that is left, below which it is a finding."""
PERMITS_LOW = 0.5
"""Share of the permits that is left after refusals, below which it is a finding."""
_NAMED = 4
_PARTITIONS = 20
_WORDS = 160

Code = Literal[
    "kafka-away",
    "no-workers",
    "watchdog-alarm",
    "breaker-open",
    "no-model",
    "silent-worker",
    "budget-spent",
    "worker-trouble",
    "unowned-partitions",
    "dead-letters",
    "turns-failing",
    "turns-late",
    "queue-growing",
    "rate-limited",
    "budget-near",
    "paused",
    "whole-answers",
]
"""In the order in which findings are shown: causes before their effects."""
_RANK = {code: rank for rank, code in enumerate(get_args(Code))}


class Finding(NamedTuple):
    """One thing that an operator should look at."""

    code: Code
    severe: bool
    """Whether users do not get their answers, or soon will not."""
    title: str
    text: str
    """May hold what others wrote: show it as text, with its control characters escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """State of the fleet, from which findings are made."""

    turn_ttl_s: float
    workers: Sequence[WorkerState] = ()
    """Those of the group that report."""
    silent: Sequence[WorkerState] = ()
    """Those of the group that have stopped reporting."""
    unowned: Sequence[int] = ()
    """Partitions with waiting turns that belong to no worker."""
    models: Sequence[Mapping[str, Any]] = ()
    """As `fleet_totals.models_of` gives them."""
    spending: Mapping[str, Any] = field(default_factory=dict)
    """As `fleet_totals.spending_of` gives it."""
    oldest_s: float = 0.0
    """Age of the oldest turn that is not done."""
    wait_s: float = 0.0
    """How long a new turn would wait, at most; 0 while that is not known."""
    replies: int = 0
    """Of the last seconds."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Those among them that carry an error, by its code."""
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    """Of the last ten minutes, by reason."""
    kafka_away_s: float | None = None
    """Seconds since Kafka last answered; None when it answers."""
    streaming: bool = True


def findings(of: Situation) -> tuple[Finding, ...]:
    """All findings, the severe ones first, causes before their effects; empty when all is well."""
    found = [*_kafka(of), *_workers(of), *_models(of), *_turns(of), *_dead_letters(of), *_spending(of.spending)]
    return tuple(sorted(found, key=lambda finding: (not finding.severe, _RANK[finding.code])))


def runbook(code: str) -> str:
    """Address of the runbook's section for a code."""
    return f"{RUNBOOK}#{code}"


def _kafka(of: Situation) -> Iterator[Finding]:
    if of.kafka_away_s is not None:
        yield Finding("kafka-away", True, "Kafka away", f"It has not answered for {seconds(of.kafka_away_s)}.")


def _workers(of: Situation) -> Iterator[Finding]:
    if not of.workers:
        yield Finding("no-workers", True, "No workers", "No worker reports: nothing is answered.")
    if of.silent:
        why = "stopped reporting: killed, hanging, or cut off from Kafka."
        yield Finding("silent-worker", True, "Silent", f"{_names(of.silent)} {why}")
    if alarms := _said((worker.worker_id, worker.alarm) for worker in of.workers):
        yield Finding("watchdog-alarm", True, "Watchdog", alarms)
    # A worker that drains was told to; one without a model is a finding of its own.
    troubled = [one for one in of.workers if one.trouble and one.state != "draining" and not _is_shut(one)]
    if troubled:
        says = _said((worker.worker_id, worker.trouble) for worker in troubled)
        severe = any(worker.state != "starting" for worker in troubled)
        yield Finding("worker-trouble", severe, "In trouble", says)
    if of.workers and of.unowned:
        text = f"Waiting turns of partition {_numbers(of.unowned)} belong to no worker."
        yield Finding("unowned-partitions", True, "Nobody's", text)
    if paused := [worker for worker in of.workers if worker.state == "paused"]:
        yield Finding("paused", False, "Paused", f"{_names(paused)}, by an operator.")
    others = [worker for worker in of.workers if worker.state != "paused"]
    if held := sorted({part.partition for worker in others for part in worker.partitions if part.paused}):
        yield Finding("paused", False, "Paused", f"Partition {_numbers(held)}, by an operator.")


def _models(of: Situation) -> Iterator[Finding]:
    if shut := [worker for worker in of.workers if _is_shut(worker)]:
        text = f"{_names(shut)} can ask none: turns wait in Kafka until they expire."
        yield Finding("no-model", True, "No model", text)
    for model in of.models:
        opened, trying = model["open"], model["half_open"]
        if opened or trying:
            title = "Breaker open" if opened else "Breaker trying again"
            where = f"{model['name']} at {opened + trying} of {opened + trying + model['closed']} workers"
            text = f"{where}: {_short(model['reason'])}" if model["reason"] else where
            yield Finding("breaker-open", bool(opened), title, text)
    if low := [model for model in of.models if model["quota_left"] < QUOTA_LOW]:
        left = ", ".join(f"{model['name']} {model['quota_left']:.0%}" for model in low[:_NAMED])
        yield Finding("rate-limited", False, "Rate limit", f"Little quota is left: {left}.")
    permits, most = sum(worker.permits for worker in of.workers), sum(worker.concurrency for worker in of.workers)
    all_closed = not any(model["open"] or model["half_open"] for model in of.models)
    if permits < PERMITS_LOW * most and all_closed:  # an outage brings them down too
        text = f"Refusals brought the permits down to {permits:,} of {most:,}."
        yield Finding("rate-limited", False, "Rate limit", text)


def _is_shut(worker: WorkerState) -> bool:
    return bool(worker.models) and all(model.breaker == "open" for model in worker.models)


def _turns(of: Situation) -> Iterator[Finding]:
    oldest, ttl = of.oldest_s, of.turn_ttl_s
    if oldest > ttl:
        text = f"The oldest turn is {seconds(oldest)} old; turns expire after {seconds(ttl)}."
        yield Finding("turns-late", True, "Too late", text)
    elif of.wait_s > ttl / 2:
        text = f"A new turn waits about {seconds(of.wait_s)}; turns expire after {seconds(ttl)}."
        yield Finding("queue-growing", False, "Long queue", text)
    elif oldest > ttl / 2:
        text = f"The oldest turn is {seconds(oldest)} old; turns expire after {seconds(ttl)}."
        yield Finding("queue-growing", False, "Long queue", text)
    failed = sum(of.errors.values())
    if of.replies >= LEAST_REPLIES and failed > FAILED_SHARE * of.replies:
        share = failed / of.replies
        text = f"{share:.0%} of the last replies: {_counts(of.errors)}."
        yield Finding("turns-failing", share > BADLY_FAILED_SHARE, "Errors", text)
    if not of.streaming:
        text = "Turns are not streamed while the load is above the threshold."
        yield Finding("whole-answers", False, "Whole answers", text)


def _dead_letters(of: Situation) -> Iterator[Finding]:
    if total := sum(of.dead_letters.values()):
        text = f"{total:,} in the last 10 min: {_counts(of.dead_letters)}."
        yield Finding("dead-letters", total >= MANY_DEAD_LETTERS, "Dead letters", text)


def _spending(spending: Mapping[str, Any]) -> Iterator[Finding]:
    for name, when in (("hour", "this hour"), ("day", "today")):
        ceiling, usd = spending.get(f"{name}_ceiling_usd"), spending.get(f"{name}_usd", 0.0)
        if ceiling is None or usd < BUDGET_NEAR * ceiling:
            continue
        spent = usd >= BUDGET_SPENT * ceiling
        share = f"{usd / ceiling:.0%} of {ceiling:,.2f} USD" if ceiling else "All of 0 USD"
        code: Code = "budget-spent" if spent else "budget-near"
        yield Finding(code, spent, "Budget", f"{share} is spent {when}.")


def _said(pairs: Iterable[tuple[str, str | None]]) -> str:
    """What workers say, each saying once."""
    by_words: dict[str, list[str]] = {}
    for name, words in pairs:
        if words:
            by_words.setdefault(words, []).append(name)
    return "; ".join(f"{_listed(names)}: {_short(words)}" for words, names in list(by_words.items())[:_NAMED])


def _short(words: str) -> str:
    """Providers' errors carry whole JSON bodies."""
    return words if len(words) <= _WORDS else f"{words[:_WORDS]}…"


def _names(workers: Iterable[WorkerState]) -> str:
    return _listed([worker.worker_id for worker in workers])


def _listed(names: Sequence[str]) -> str:
    first = ", ".join(names[:_NAMED])
    return f"{first} and {len(names) - _NAMED} more" if len(names) > _NAMED else first


def _numbers(numbers: Sequence[int]) -> str:
    first = ", ".join(map(str, numbers[:_PARTITIONS]))
    return f"{first} and {len(numbers) - _PARTITIONS} more" if len(numbers) > _PARTITIONS else first


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name[:64] or '(none)'} {count:,}" for name, count in Counter(counts).most_common(3))


def seconds(value: float) -> str:
    """A number of seconds as people read it."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:,.0f} min" if value < 36_000 else f"{value / 3600:,.0f} h"

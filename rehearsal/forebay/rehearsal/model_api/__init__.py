"""A simulated Anthropic Messages and OpenAI Chat Completions API, spoken to by the real SDKs over HTTP.

Claude Managed Agents (agents, environments, sessions, events) too; `[session terminated]` and `[session rescheduled]` in a
user text bring a session into that state.

Replies are functions of the messages received: `[turn N]`, the last user text, the earlier ones (see `echo`). Latency
is drawn from a seeded distribution. Every model name is accepted.

What a conversation can ask for by its last user text:

- `use tool NAME {"json": "object"}` calls an offered tool; its result is then echoed in the final reply.
- Without these words a tool is called for what a customer of a shop would write, such as "取消订单 1001" or "Is SKU001 in
  stock?", if one is offered that does it and all that its schema requires is in the text (see `choosing`).
- `[fault KIND]` makes every call of the turn fail, `[fault KIND x2]` its first two. KIND is a value of `Fault`.

What HTTP can ask for besides the two APIs:

- `POST /faults` with `{"kind": ..., "count": n, "share": p, "match": "text", "seconds": s, "after": n}`, or a list of
  such; only `kind` is required. `GET /faults` lists them, `DELETE /faults` drops them.
- `POST /limits` with any fields of `Limits`, such as `{"max_in_flight": 8, "tokens_per_minute": 100000}` or
  `{"outage": "hang"}`; those left out stay. `GET /limits` shows all, `DELETE /limits` puts back those of the start.
- `GET /stats` counts calls by provider, outcome, key and turn; `?turns=repeated` or `?turns=none` shortens it.
- `GET /healthz` answers 200.

A key that contains `invalid` is refused. A `gullible` model (`ModelApiSettings`, `ModelApi.set_gullible`) also does what
tools' results tell it to, so that a test can show what an injected instruction achieves.
"""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    "forebay.rehearsal.model_api.answers.echo": "Echo echo_of parse_reply reply_text",
    "forebay.rehearsal.model_api.limits.provider_limits": "Limits Outage read_outage",
    ".api_server": "ModelApi serve",
    ".api_settings": "ModelApiSettings",
    ".errors": "ModelApiError",
    ".faults": "Fault",
    ".stats": "KeyStats Stats turn_key",
}

if TYPE_CHECKING:
    from forebay.rehearsal.model_api.answers.echo import Echo, echo_of, parse_reply, reply_text
    from forebay.rehearsal.model_api.limits.provider_limits import Limits, Outage, read_outage

    from .api_server import ModelApi, serve
    from .api_settings import ModelApiSettings
    from .errors import ModelApiError
    from .faults import Fault
    from .stats import KeyStats, Stats, turn_key
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = [
    "Echo",
    "Fault",
    "KeyStats",
    "Limits",
    "ModelApi",
    "ModelApiError",
    "ModelApiSettings",
    "Outage",
    "Stats",
    "echo_of",
    "parse_reply",
    "read_outage",
    "reply_text",
    "serve",
    "turn_key",
]

"""``python -m forebay.cli.configuration``: docs/configuration.md, from the settings classes and their fields' docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from forebay.gateway import GatewaySettings
from forebay.producers import TopicSettings
from forebay.schemas import Cluster, Environment
from forebay.workers.deliver_settings import DeliverSettings
from forebay.workers.settings import WorkerSettings

_HEAD = """\
# Configuration

<!-- Written by `make docs` from the settings classes. Change the docstring of the field, not this file. -->

Settings are read once at the start, from the environment or from a `.env` file in the current folder; the environment wins. A
wrong setting ends the command with its name, its value and the rule (exit status 2). An empty value counts as not set.
Command-line options win over both: `forebay worker --help`.
"""

_VARIABLES = """
## Providers

Read by `worker`, as the providers' SDKs read them.

| variable | meaning |
|---|---|
| `ANTHROPIC_API_KEY`, `OPENAI_API_KEY` | The key of a provider; needed when the assistant names a model of it. |
| `FOREBAY_ANTHROPIC_API_KEYS`, `FOREBAY_OPENAI_API_KEYS` | Several keys, comma-separated: [flow.md](flow.md). |
| `ANTHROPIC_BASE_URL`, `OPENAI_BASE_URL` | Where the API is: a compatible vendor or gateway, `forebay model-api`. |
| `FOREBAY_MANAGED_AGENT` | Id of an agent to use: [managed-agents.md](managed-agents.md). |
| `FOREBAY_MANAGED_ENVIRONMENT` | Id of an environment to use with it. |

Traces are switched on by OpenTelemetry's own `OTEL_...` variables: [observability.md](observability.md).
"""


class Section(NamedTuple):
    """One table of the page."""

    title: str
    about: str
    settings: type[Environment]
    commands: tuple[str, ...]
    """That read all of it."""
    fields: tuple[str, ...] = ()
    """Only these fields of the class, in this order; empty takes all that no other section of the class names."""


_FLEET = ("worker",)
_GATEWAY = ("gateway",)

SECTIONS = (
    Section(
        "Kafka",
        "TLS and SASL: [security.md](security.md#kafka).",
        Cluster,
        (
            "topics apply",
            "worker",
            "gateway",
            "deliver",
            "ask",
            "dlq list",
            "dlq show",
            "dlq replay",
            "dlq purge",
            "status",
            "costs",
        ),
    ),
    Section("Topics", "For topics that do not exist yet.", TopicSettings, ("topics apply",)),
    Section(
        "Worker: assistant, model, store",
        "[assistant.md](assistant.md), [stores.md](stores.md). `handoffs return` reads the store, `costs` the catalogue.",
        WorkerSettings,
        _FLEET,
        ("assistant", "model", "fallbacks", "catalogue", "store", "store_key"),
    ),
    Section("Worker: process", "[delivery.md](delivery.md), [watchdog.md](watchdog.md).", WorkerSettings, _FLEET),
    Section(
        "Worker: concurrency and quotas",
        "[flow.md](flow.md).",
        WorkerSettings,
        _FLEET,
        (
            "concurrency",
            "concurrency_floor",
            "rpm",
            "tpm",
            "limits",
            "limit_workers",
            "tenant_weights",
            "max_waiting",
            "max_waiting_mib",
        ),
    ),
    Section(
        "Worker: breakers and timeouts",
        "[flow.md](flow.md#a-failed-call).",
        WorkerSettings,
        _FLEET,
        (
            "breaker_failures",
            "breaker_open_s",
            "hedge_share",
            "connect_timeout_s",
            "tls_timeout_s",
            "first_token_timeout_s",
            "between_tokens_timeout_s",
            "call_timeout_s",
        ),
    ),
    Section(
        "Worker: spending",
        "[flow.md](flow.md#spending).",
        WorkerSettings,
        _FLEET,
        (
            "budget_hour_usd",
            "budget_day_usd",
            "budget_tenant_hour_usd",
            "budget_tenant_day_usd",
            "budget_near",
        ),
    ),
    Section(
        "Webhooks",
        "[webhooks.md](webhooks.md). The group must be the same as for the workers: its own is this with `.deliver`.",
        DeliverSettings,
        ("deliver",),
    ),
    Section(
        "Gateway: address and access",
        "[gateway.md](gateway.md#access).",
        GatewaySettings,
        _GATEWAY,
        (
            "gateway_host",
            "gateway_port",
            "gateway_open",
            "gateway_open_user",
            "gateway_keys",
            "gateway_api_keys",
            "gateway_admin_keys",
            "gateway_cors",
            "gateway_model",
        ),
    ),
    Section("Gateway: limits", "[gateway.md](gateway.md#limits).", GatewaySettings, _GATEWAY),
    Section(
        "Gateway: process",
        "Group, time to live and store must be the same as for the workers.",
        GatewaySettings,
        _GATEWAY,
        ("group", "turn_ttl_s", "store", "store_key", "health_port", "log"),
    ),
)


def document() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, "\n".join(map(_table, SECTIONS)), _VARIABLES.removeprefix("\n")])


def fields_of(section: Section) -> tuple[str, ...]:
    """The names of the fields that the section shows. Raises KeyError for one that its class does not have."""
    known = section.settings.model_fields
    if section.fields:
        return tuple(known[name] and name for name in section.fields)
    elsewhere = {name for other in SECTIONS if other.settings is section.settings for name in other.fields}
    return tuple(name for name in known if name not in elsewhere)


def _table(section: Section) -> str:
    commands = ", ".join(f"`{command}`" for command in section.commands)
    return "\n".join(
        [
            f"## {section.title}\n",
            f"Read by {commands}. {section.about}\n",
            "| setting | default | rule | meaning |",
            "|---|---|---|---|",
            *_rows(section),
            "",
        ]
    )


def _rows(section: Section) -> Iterator[str]:
    properties = section.settings.model_json_schema()["properties"]
    for name in fields_of(section):
        known = properties[name]
        rule = _rule(next((one for one in known.get("anyOf", ()) if one["type"] != "null"), known))
        yield f"| `{_variable(name)}` | {_default(known.get('default'))} | {rule} | {_meaning(known, properties)} |"


def _variable(field: str) -> str:
    return f"FOREBAY_{field.upper()}"


def _default(value: object) -> str:
    if value in (None, ""):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else format(value, 'g') if isinstance(value, float) else value}`"


def _rule(schema: Mapping[str, Any]) -> str:
    """What the JSON Schema of a field allows, in words."""
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema["type"] in ("integer", "number"):
        return _range(schema)
    if "pattern" in schema:
        return f"`{schema['pattern']}`"
    if "maxLength" in schema:
        return f"{schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return {"boolean": "`true`, `false`", "path": "file", "password": "secret"}.get(
        schema.get("format", schema["type"]), "text"
    )


def _range(schema: Mapping[str, Any]) -> str:
    low, above, high = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    if above is not None:
        return f"more than {above:,}" + ("" if high is None else f", at most {high:,}")
    return f"{low:,} or more" if high is None else f"{low:,} to {high:,}"


def _meaning(schema: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """The field's docstring in Markdown, with the names of fields as those of their variables."""

    def name(found: re.Match[str]) -> str:
        return f"`{_variable(found[1]) if found[1] in known else found[1]}`"

    return re.sub(r"``(.+?)``", name, " ".join(schema["description"].split())).replace("|", "\\|")


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 - its output

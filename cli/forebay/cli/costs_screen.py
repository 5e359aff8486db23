"""``forebay costs``: what answers have cost, from the replies on the topic."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from forebay.operations.accounts import Accounts, largest, table
from forebay.schemas import Cluster, DecodeError, decode_reply
from forebay.schemas import headers as names
from forebay.workers.models import Catalogue

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

_REMEMBERED = 200_000
"""Replies for each partition in which a repeat is noticed: a crash repeats what it had not committed, some hundred."""


async def read_costs(
    cluster: Cluster, catalogue: Path | None, against: str | None, since_ms: int | None, tenant: str | None
) -> Accounts:
    """The accounts of all replies since then (milliseconds since the epoch). Raises ClusterError and SettingsError."""
    from forebay.producers.topic_reader import TopicReader

    known = Catalogue.load(catalogue)
    accounts = Accounts(known, against or largest(known))
    known.find(accounts.against)
    async with await TopicReader.of(cluster, cluster.topics.replies) as reader:
        spans = await reader.spans(since_ms)
        seen: OrderedDict[str, None] = OrderedDict()
        async for records in reader.by_partition(spans):
            for record in records:
                _add(accounts, record, seen, tenant)
    return accounts


def _add(accounts: Accounts, record: ConsumerRecord, seen: OrderedDict[str, None], tenant: str | None) -> None:
    try:
        reply = decode_reply(record.value)
    except DecodeError:
        return  # not ours
    if reply.reply_id in seen:
        return
    seen[reply.reply_id] = None
    if len(seen) > _REMEMBERED:
        seen.popitem(last=False)
    of = _header(record.headers, names.TENANT)
    if tenant is None or of == tenant:
        left_out = _header(record.headers, names.LEFT_OUT) or "0"
        accounts.add(reply, of, int(left_out) if left_out.isdigit() else 0)


def _header(headers: Iterable[tuple[str, bytes]], name: str) -> str | None:
    return next((value.decode(errors="replace") for key, value in headers if key == name and value), None)


def as_json(accounts: Accounts, turns_a_day: float | None) -> dict[str, Any]:
    """All of it, as data."""
    rate = accounts.turns_a_day() if turns_a_day is None else turns_a_day
    return {
        "turns": accounts.total.turns,
        "usd": accounts.total.usd,
        "unpriced_turns": accounts.total.unpriced,
        "first": accounts.first,
        "last": accounts.last,
        "models": table(accounts.by_model),
        "routes": table(accounts.by_route),
        "tenants": table(accounts.by_tenant),
        "days": table(accounts.by_day),
        "against": accounts.against,
        "saved_usd": asdict(accounts.savings),
        "turns_a_day": rate,
        "forecast_usd": accounts.forecast(rate),
    }


def show(accounts: Accounts, turns_a_day: float | None) -> None:
    """The same for people."""
    from .dlq_screen import visible

    console = Console()
    data = as_json(accounts, turns_a_day)
    if not accounts.total.turns:
        console.print("no replies yet")
        return
    tables = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "turns", "USD", "USD / 1,000", "tokens in", "cached", "out"):
        tables.add_column(column, justify="left" if not column else "right", overflow="fold")
    for title in ("models", "routes", "tenants", "days"):
        tables.add_section()
        tables.add_row(f"[bold]{title}")
        for row in data[title]:
            tokens = (f"{row[f'{kind}_tokens']:,}" for kind in ("input", "cache_read", "output"))
            usd = f"{row['usd']:,.6f}" + (" ?" if row["unpriced"] else "")
            name = "  " + visible(row["name"]).replace("[", r"\[")
            tables.add_row(name, f"{row['turns']:,}", usd, f"{row['usd'] / row['turns'] * 1000:,.4f}", *tokens)
    console.print(tables)
    console.print(f"\n[bold]{data['turns']:,} turns, {data['usd']:,.6f} USD[/]", highlight=False)
    if accounts.total.unpriced:
        console.print(f"? the price of {accounts.total.unpriced:,} turns is not known: add it by FOREBAY_CATALOGUE")
    saved = ", ".join(f"{name} {usd:,.6f}" for name, usd in data["saved_usd"].items())
    console.print(f"saved against {accounts.against} for every turn, in USD: {saved}", highlight=False)
    ahead = ", ".join(f"{usd:,.2f} a {name}" for name, usd in data["forecast_usd"].items())
    console.print(f"at {data['turns_a_day']:,.0f} turns a day, in USD: {ahead}", highlight=False)

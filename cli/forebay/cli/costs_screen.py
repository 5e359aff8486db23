"""How spending looks, as data and on a screen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from forebay.operations.accounts import Accounts, table

from .dlq_screen import visible


def as_json(accounts: Accounts, turns_a_day: float | None) -> dict[str, Any]:
    """All accounts, as data for JSON."""
    rate = accounts.turns_a_day() if turns_a_day is None else turns_a_day
    return {
        "turns": accounts.total.turns,
        "usd": accounts.total.usd,
        "unpriced_turns": accounts.total.unpriced,
        "first": accounts.first,
        "last": accounts.last,
        "models": table(accounts.by_model, accounts.ratings.by_model()),
        "routes": table(accounts.by_route, accounts.ratings.by_route()),
        "tenants": table(accounts.by_tenant),
        "days": table(accounts.by_day),
        "rated": accounts.ratings.total._asdict(),
        "against": accounts.against,
        "saved_usd": asdict(accounts.savings),
        "turns_a_day": rate,
        "forecast_usd": accounts.forecast(rate),
    }


def show(accounts: Accounts, turns_a_day: float | None) -> None:
    """Prints the accounts as tables."""
    console = Console()
    data = as_json(accounts, turns_a_day)
    if not accounts.total.turns:
        console.print("no replies yet")
        return
    tables = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "turns", "USD", "USD / 1,000", "tokens in", "cached", "out", "+", "-"):
        tables.add_column(column, justify="left" if not column else "right", overflow="fold")
    for title in ("models", "routes", "tenants", "days"):
        tables.add_section()
        tables.add_row(f"[bold]{title}")
        for row in data[title]:
            tokens = (f"{row[f'{kind}_tokens']:,}" for kind in ("input", "cache_read", "output"))
            usd = f"{row['usd']:,.6f}" + (" ?" if row["unpriced"] else "")
            name = "  " + visible(row["name"]).replace("[", r"\[")
            rated = (f"{row[kind]:,}" if row.get(kind) else "" for kind in ("up", "down"))
            a_thousand = f"{row['usd'] / row['turns'] * 1000:,.4f}"
            tables.add_row(name, f"{row['turns']:,}", usd, a_thousand, *tokens, *rated)
    console.print(tables)
    console.print(f"\n[bold]{data['turns']:,} turns, {data['usd']:,.6f} USD[/]", highlight=False)
    if any(rated := data["rated"].values()):
        console.print("rated by customers (+ and -): {:,} up, {:,} down".format(*rated), highlight=False)
    if accounts.total.unpriced:
        console.print(f"? the price of {accounts.total.unpriced:,} turns is not known: add it by FOREBAY_CATALOGUE")
    saved = ", ".join(f"{name} {usd:,.6f}" for name, usd in data["saved_usd"].items())
    console.print(f"saved against {accounts.against} for every turn, in USD: {saved}", highlight=False)
    ahead = ", ".join(f"{usd:,.2f} a {name}" for name, usd in data["forecast_usd"].items())
    console.print(f"at {data['turns_a_day']:,.0f} turns a day, in USD: {ahead}", highlight=False)

"""How an assistant's definition looks on a screen."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def show(found: dict[str, Any]) -> None:
    """Prints an assistant that was understood, for people."""
    console = Console(highlight=False, markup=False)
    console.print(f"assistant    {found['assistant']}")
    for model in found["models"]:
        price = model["usd_per_million"]
        cost = f"{price['input']:g} / {price['output']:g} USD a million tokens" if price else "price not known"
        console.print(f"model        {model['name']} ({model['provider']}, {model['context']:,} tokens, {cost})")
    grades = ", ".join(f"{grade} {name}" for grade, name in found["by_complexity"].items())
    console.print(f"complexity   {grades}")
    console.print(f"fallbacks    {', '.join(found['fallbacks']) or 'none'}")
    for route in found["routes"]:
        if route["specialist"]:
            console.print(f"specialist   {route['specialist']}: {', '.join(route['intents'])}")
        for tool in route["tools"]:
            marks = [text for name, text in _MARKS.items() if tool[name]]
            console.print(f"  tool       {tool['name']}({', '.join(tool['arguments'])}) {', '.join(marks)}".rstrip())
    window = found["window"]
    kept = "the rest is summarised" if window["summarised"] else "the rest is forgotten"
    console.print(f"window       {window['exchanges']} exchanges, {window['tokens']:,} tokens; {kept}")
    console.print(f"faq          {found['faq_entries']} entries")
    console.print(f"redaction    {'on' if found['redaction'] else 'off'}")
    console.print(f"hand-off     {'on' if found['hand_off'] else 'only at a spending ceiling'}")


_MARKS = {
    "confirm": "asks the customer first",
    "needs_customer": "for a signed-in customer",
    "idempotency_key": "takes an idempotency key",
}

"""Which offered tool the simulated model calls for what a customer writes, in Chinese or English.

A text names a deed (cancel, send back, track, ...), a tool's name or description says whether it does that deed, and the
tool is called when all that its schema requires can be read from the text; otherwise nothing is called. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from .mentioned import reader_of, reason
from .offer import Offer

TEXT_CHARS = 1_000
"""Characters of a customer's text that are read."""
RESULT_CHARS = 4_000
"""Characters of a tool's result that a gullible model reads."""
CLAUSE_CHARS = 120
"""Characters of an instruction in a tool's result that are read."""
_MOST_CLAUSES = 20

Call = tuple[str, str]
"""A tool's name and its arguments as a JSON object."""


class Deed(NamedTuple):
    """Something that a customer may want done."""

    said: re.Pattern[str]
    """How they say it, in lower case."""
    does: re.Pattern[str]
    """How a tool that does it is called, or described."""


def choose(text: str, offers: Mapping[str, Offer]) -> Call | None:
    """The call that answers a customer's text, of the first deed it names for which there is a tool; None for no call."""
    return _call(text[:TEXT_CHARS], offers, _DEEDS)


def obey(result: str, offers: Mapping[str, Offer]) -> Call | None:
    """The call that a gullible model makes for an instruction in a tool's result, such as `cancel order 1001`."""
    text = result[:RESULT_CHARS]
    plain = text.lower()
    starts = sorted(found.start() for deed in _ACTS for found in deed.said.finditer(plain))
    clauses = (_CLAUSE_END.split(text[start : start + CLAUSE_CHARS], 1)[0] for start in starts[:_MOST_CLAUSES])
    return next((call for clause in clauses if (call := _call(clause, offers, _ACTS))), None)


def _call(text: str, offers: Mapping[str, Offer], deeds: Sequence[Deed]) -> Call | None:
    plain = text.lower()
    for deed in deeds:
        if not deed.said.search(plain):
            continue
        for offer in offers.values():
            if _deed_of(offer.name, offer.description) is deed and (arguments := _arguments(offer.schema, text)):
                return offer.name, orjson.dumps(arguments).decode()
    return None


def _arguments(schema: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    """What the schema requires, as the text tells it; None where something is missing, or only words are required."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list) or not required:
        return None
    arguments: dict[str, Any] = {}
    found = False
    for name in map(str, required):
        described = properties.get(name)
        value, told = _value(name, described if isinstance(described, dict) else {}, text)
        if value is None:
            return None
        arguments[name] = value
        found |= told
    return arguments if found else None


def _value(name: str, described: Mapping[str, Any], text: str) -> tuple[Any, bool]:
    """(the value of a property or None, whether it is more than the text itself)."""
    if isinstance(listed := described.get("enum"), list):
        plain = text.casefold()
        return next((value for value in listed if isinstance(value, str) and value.casefold() in plain), None), True
    read = reader_of(name, str(described.get("description") or ""))
    value = read(text) if read else None
    if value is not None and described.get("type") in ("number", "integer"):
        return _number(value, whole=described["type"] == "integer"), True
    return value, read is not reason


def _number(value: str, *, whole: bool) -> float | int | None:
    try:
        return int(float(value)) if whole else float(value)
    except ValueError:
        return None


@lru_cache(maxsize=1_000)
def _deed_of(name: str, description: str) -> Deed | None:
    """What a tool does, by its name, or else by its description."""
    # A description that begins with "Returns" tells what comes back, not that something is sent back.
    told = _RETURNS.sub("", description)
    return next((deed for words in (name, told) for deed in _DEEDS if deed.does.search(words)), None)


def _deed(said: str, does: str) -> Deed:
    return Deed(re.compile(said), re.compile(does, re.IGNORECASE))


_RETURNS = re.compile(r"^\s*returns?\b", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[.!?。！？\n\"]")
_ACTS = (
    _deed(
        r"(?<!not )(?<!n't )(?<!never )\bcancel\b|(?<![不别])(?<!不要|不想)取消(?!了)",
        r"cancel|取消",
    ),
    _deed(
        r"(?<!not )(?<!n't )\b(?:return|send (?:it )?back|refund)\b|(?<![不别])(?<!不要|不想)(?:退[货款掉]|[想要]退)",
        r"return|refund|send_?back|退货",
    ),
)
_DEEDS = (
    *_ACTS,
    _deed(
        r"\b(?:where(?:'s| is| are)|track|tracking|parcel|package|shipment|delivery|arrive)\b|物流|快递|包裹|运单|到哪|送到",
        r"track|parcel|shipment|deliver|logistic|物流|快递",
    ),
    _deed(
        r"\b(?:coupon|voucher|promo|discount|code|can i use)\b|优惠|券|满减|能用",
        r"coupon|voucher|promo|discount|优惠",
    ),
    _deed(
        r"\b(?:stock|available|left)\b|有货|没货|缺货|补货|现货|库存|还有吗",
        r"stock|inventory|availab|库存",
    ),
    _deed(
        r"\b(?:status|orders?|shipped)\b|状态|发货|单",
        r"status|order|订单",
    ),
    _deed(
        r"\b(?:search|looking|look|find|show me|recommend|suggest|do you (?:have|sell|carry)|want to buy|how much|price)\b"
        r"|有没有|有卖|搜|找|推荐|想买|要买|多少钱",
        r"search|find|catalog|搜索",
    ),
)
"""In the order in which they are looked for."""

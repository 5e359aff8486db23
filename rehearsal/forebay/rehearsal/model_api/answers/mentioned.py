"""What a customer's text mentions that a tool may need: numbers of orders and articles, coupons, amounts, products.

A property of a tool's schema tells by its name, or else its description, which of these it takes. Pure, and linear in
the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

REASON_CHARS = 200
"""Characters of a text that stand for a reason."""
QUERY_CHARS = 40
"""Characters of what a customer looks for."""

Reader = Callable[[str], str | None]


class ValueKind(NamedTuple):
    """A kind of value, and how it is read."""

    named: re.Pattern[str]
    """Names of properties that take it."""
    described: re.Pattern[str]
    """Descriptions of those whose name says nothing."""
    read: Reader
    """From a text; None where it has no such value."""


def order_number(text: str) -> str | None:
    """Such as 1001 or 20261111-123456: after a word for it, or any number long enough that is no article's."""
    if found := _ORDER_NAMED.search(text) or _ORDER_DASHED.search(text):
        return found[1]
    article = article_number(text)
    numbers = (found[1] for found in _ORDER_BARE.finditer(text))
    return next((number for number in numbers if number != article), None)


def article_number(text: str) -> str | None:
    """Such as SKU001, HX-12345 or 货号 123456789."""
    found = _SKU.search(text)
    if found is not None:
        return f"SKU{found[1]}"
    found = _ARTICLE_NAMED.search(text) or _ARTICLE_DASHED.search(text)
    return found[1].upper() if found else None


def coupon_code(text: str) -> str | None:
    """Such as SAVE30: capitals and digits, or capitals after a word for it."""
    found = _CODE.search(text) or _CODE_NAMED.search(text)
    return found[1] if found else None


def tracking_number(text: str) -> str | None:
    """Such as SF88001002."""
    found = _TRACKING.search(text)
    return found[1] if found else None


def amount(text: str) -> str | None:
    """A number with a currency, or else the first that belongs to nothing else."""
    if found := _MONEY.search(text):
        return found[1] or found[2]
    found = _NUMBER.search(text)
    return found[1] if found else None


def product(text: str) -> str | None:
    """What the customer looks for, in their words; an article's number if they name one."""
    if article := article_number(text):
        return article
    found = _SEARCH_EN.search(text) or _SEARCH_ZH.search(text) or _PRICED.search(text)
    words = found[1][:QUERY_CHARS].strip() if found else ""
    return words if words and not _THEIR_OWN.match(words) else None


def reason(text: str) -> str | None:
    """The text itself, on one line."""
    return " ".join(text.split())[:REASON_CHARS] or None


@lru_cache(maxsize=1_000)
def reader_of(name: str, description: str) -> Reader | None:
    """How the value of a property is read; None for one that no text is read for."""
    by_name = (kind.read for kind in _KINDS if kind.named.search(name))
    by_description = (kind.read for kind in _KINDS if kind.described.search(description))
    return next(by_name, None) or next(by_description, None)


def _any_case(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_ORDER_NAMED = _any_case(
    r"(?:\border|单)(?:\s?(?:number|no\.?|id|号码?|编号))?\s?(?:is|是|为)?\s?[#:：]?\s?(?!sku)([a-z]{0,4}\d[\d-]{2,24})"
)
_ORDER_DASHED = re.compile(r"(?<![\d-])(\d{6,8}-\d{4,8})(?![\d-])")
_ORDER_BARE = _any_case(r"(?<![a-z0-9_¥￥$.-])(\d{4,20})(?![a-z0-9_-]|\.\d|\s?[元块年])")
_SKU = _any_case(r"(?<![a-z0-9])sku[-_ ]?(\d{2,12})(?![a-z0-9])")
_ARTICLE_NAMED = _any_case(
    r"(?:货号|款号|商品编号|\b(?:article|item|product))(?:\s?(?:number|no\.?))?\s?[:：#]?\s?([a-z]{0,4}-?\d{3,12})"
)
_ARTICLE_DASHED = re.compile(r"(?<![A-Za-z0-9-])([A-Z]{2,4}-\d{3,8})(?![A-Za-z0-9-])")
_CODE = re.compile(r"(?<![A-Za-z0-9-])(?!SKU)([A-Z]{2,12}\d{1,6}[A-Z]{0,6})(?![A-Za-z0-9-])")
_CODE_NAMED = re.compile(r"(?:[Cc]ode|[Cc]oupon|[Vv]oucher|码|券)\s?[:：]?\s?([A-Z0-9]{4,20})(?![A-Za-z0-9])")
_TRACKING = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2,3}\d{8,14})(?![A-Za-z0-9])")
_MONEY = _any_case(
    r"[¥￥$€]\s?(\d{1,9}(?:\.\d{1,2})?)|(?<![a-z0-9.])(\d{1,9}(?:\.\d{1,2})?)\s?(?:元|块|yuan|rmb|dollars|usd|euros?)"
)
_NUMBER = _any_case(r"(?<![a-z0-9.#-])(\d{1,9}(?:\.\d{1,2})?)(?![a-z0-9-]|\.\d)")
_SEARCH_EN = _any_case(
    r"\b(?:search for|look(?:ing)? for|find(?: me)?|show me|recommend|suggest|do you (?:have|sell|carry)|want to buy"
    r"|how much (?:is|are)|price of)\s(?:any |some |an? |the |me |your )*([^.,;?!\n，。；？！]+)"
)
_SEARCH_ZH = re.compile(
    r"(?:有没有(?!货)|有卖|搜索?|找|推荐|想买|要买)(?:一下)?[几一]?[款个双件条台些]?([^\s.,;?!，。；？！吗呢吧]+)"
)
_PRICED = re.compile(r"([^\s.,;?!，。；？！]{1,20}?)(?:要|卖)?多少钱")
_THEIR_OWN = _any_case(r"my\b|我|订单|快递|人工")
_KINDS = (
    ValueKind(_any_case("track|waybill|运单"), _any_case("tracking (?:number|id)|运单号"), tracking_number),
    ValueKind(_any_case("coupon|voucher|promo|^code$"), _any_case("(?:coupon|discount) code|优惠码|券码"), coupon_code),
    ValueKind(
        _any_case("sku|article|^item$|(?:product|item)_?(?:id|no|num)"),
        _any_case(r"article number|\bsku\b|货号"),
        article_number,
    ),
    ValueKind(_any_case("order"), _any_case("order (?:number|id)|订单(?:编?号)"), order_number),
    ValueKind(_any_case("amount|total|price|金额"), _any_case("amount|金额"), amount),
    ValueKind(_any_case("query|keyword|search|^q$|^term"), _any_case("search|looking for|keyword|关键词"), product),
    ValueKind(_any_case("reason|comment|note|原因"), _any_case(r"\breason\b|\bwhy\b|原因"), reason),
)

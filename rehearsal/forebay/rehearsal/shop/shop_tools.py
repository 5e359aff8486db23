"""What the assistant can do in the shop. The docstrings and descriptions are what the model reads of it.

What is only looked up runs at once. What changes something waits for the customer's word (``confirm=True``), touches the
customer's own orders only, and happens once however often it is run under its key.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from sqlite3 import Connection, Row
from typing import Annotated, Any

from pydantic import Field

from forebay.workers.assistants import Customer, IdempotencyKey, ToolError, tool

from .database import database, once

RETURN_DAYS = 15
"""After delivery."""

OrderId = Annotated[str, "Order number as the customer wrote it, such as 1001"]
Sku = Annotated[str, "Article number, such as SKU001"]
_TERM = re.compile(r"[\u3400-\u9fff]+|[a-z0-9]+")
_GRAMMAR = frozenset({"a", "an", "and", "for", "in", "of", "or", "the", "to", "with"})


def search_product(
    query: Annotated[str, "What the customer is looking for, in their own language: a kind of product, a use, a name"],
    limit: Annotated[int, "Most products to return", Field(ge=1, le=10)] = 5,
) -> list[dict[str, Any]]:
    """Finds products of the catalogue by words, best first, with prices and stock. Empty when nothing fits."""
    chinese = re.search(r"[\u3400-\u9fff]", query) is not None
    terms = _terms(query)
    with database() as shop:
        products = shop.execute("SELECT * FROM products ORDER BY sku").fetchall()
    fit = [(_fit(product, terms), product) for product in products]
    best = sorted((found for found in fit if found[0]), key=lambda found: -found[0])[:limit]
    language = "zh" if chinese else "en"
    return [
        {
            "sku": product["sku"],
            "name": product[f"name_{language}"],
            "about": product[f"about_{language}"],
            "price_cny": _yuan(product["price_fen"]),
            "in_stock": product["stock"],
        }
        for _, product in best
    ]


def get_stock(sku: Sku) -> dict[str, Any]:
    """How many pieces of a product are in stock, and its price."""
    with database() as shop:
        product = shop.execute("SELECT * FROM products WHERE sku = ?", (sku.strip().upper(),)).fetchone()
    if product is None:
        raise ToolError(f"there is no product {sku}: look for it with search_product")
    return {
        "sku": product["sku"],
        "name": f"{product['name_zh']} / {product['name_en']}",
        "in_stock": product["stock"],
        "price_cny": _yuan(product["price_fen"]),
    }


def order_status(order_id: OrderId, customer: Customer) -> dict[str, Any]:
    """Status, content and total of one of the customer's own orders."""
    with database() as shop:
        order = _own_order(shop, order_id, customer)
        items = shop.execute("SELECT * FROM items WHERE order_id = ? ORDER BY sku", (order["order_id"],)).fetchall()
    return {
        "order_id": order["order_id"],
        "status": order["status"],
        "placed_at": order["placed_at"],
        "delivered_at": order["delivered_at"],
        "items": [{"sku": item["sku"], "pieces": item["pieces"]} for item in items],
        "total_cny": _yuan(sum(item["pieces"] * item["price_fen"] for item in items)),
    }


def track_parcel(order_id: OrderId, customer: Customer) -> dict[str, Any]:
    """Where the parcel of one of the customer's own orders is: courier, tracking number, events, the latest last."""
    with database() as shop:
        order = _own_order(shop, order_id, customer)
        parcel = shop.execute("SELECT * FROM parcels WHERE order_id = ?", (order["order_id"],)).fetchone()
        if parcel is None:
            why = "was cancelled" if order["status"] == "cancelled" else "has not been shipped yet"
            raise ToolError(f"order {order['order_id']} {why}: there is no parcel")
        events = shop.execute(
            "SELECT happened_at, place, what FROM events WHERE tracking_no = ? ORDER BY happened_at",
            (parcel["tracking_no"],),
        ).fetchall()
    return {"courier": parcel["courier"], "tracking_no": parcel["tracking_no"], "events": [dict(e) for e in events]}


def check_coupon(
    code: Annotated[str, "The coupon's code, such as SAVE30"],
    amount: Annotated[float, "What the cart comes to before the coupon, in yuan", Field(gt=0)],
) -> dict[str, Any]:
    """Whether a coupon can be used for an amount, what it takes off, and what is left to pay."""
    with database() as shop:
        coupon = shop.execute("SELECT * FROM coupons WHERE code = ?", (code.strip().upper(),)).fetchone()
    if coupon is None:
        raise ToolError(f"there is no coupon {code}")
    if date.fromisoformat(coupon["ends_on"]) < datetime.now(UTC).date():
        raise ToolError(f"coupon {coupon['code']} ended on {coupon['ends_on']}")
    fen = round(amount * 100)
    if fen < coupon["from_fen"]:
        raise ToolError(f"coupon {coupon['code']} needs {_yuan(coupon['from_fen'])} yuan or more: {coupon['rule']}")
    off = min(fen, coupon["off_fen"] + fen * coupon["off_percent"] // 100, coupon["most_fen"] or fen)
    return {
        "code": coupon["code"],
        "rule": coupon["rule"],
        "discount_cny": _yuan(off),
        "to_pay_cny": _yuan(fen - off),
        "ends_on": coupon["ends_on"],
    }


def cancellation(arguments: dict[str, Any], customer: Customer) -> str:
    """What the customer agrees to; nobody is asked about what cannot be cancelled."""
    with database() as shop:
        return f"取消订单 / Cancel order {_cancellable(shop, arguments['order_id'], customer)['order_id']}"


@tool(confirm=True, summary=cancellation)
def cancel_order(order_id: OrderId, customer: Customer, key: IdempotencyKey) -> str:
    """Cancels one of the customer's own orders that has not been shipped, and refunds it in full."""

    def cancel(shop: Connection) -> str:
        number = _cancellable(shop, order_id, customer)["order_id"]
        shop.execute("UPDATE orders SET status = 'cancelled' WHERE order_id = ?", (number,))
        shop.execute(
            "UPDATE products SET stock = stock + pieces FROM items WHERE items.sku = products.sku AND order_id = ?",
            (number,),
        )
        return f"order {number} is cancelled; the refund arrives within 1 to 3 working days"

    return once(key, cancel)


def return_of(arguments: dict[str, Any], customer: Customer) -> str:
    """What the customer agrees to; nobody is asked about what cannot be sent back."""
    with database() as shop:
        number, article = _returnable(shop, arguments["order_id"], arguments["sku"], customer)
    return f"退货 / Return {article} of order {number}"


@tool(confirm=True, summary=return_of)
def open_return(
    order_id: OrderId,
    sku: Sku,
    reason: Annotated[str, "Why, in the customer's own words"],
    customer: Customer,
    key: IdempotencyKey,
) -> str:
    """Opens the return of one article of one of the customer's own orders, within 15 days after its delivery."""

    def open_it(shop: Connection) -> str:
        number, article = _returnable(shop, order_id, sku, customer)
        shop.execute("INSERT INTO returns VALUES (?, ?, ?, ?)", (number, article, reason, _now().isoformat(" ")))
        return f"return R{number}-{article} is open; the courier collects it within 2 days, the refund follows"

    return once(key, open_it)


def _cancellable(shop: Connection, order_id: str, customer: Customer) -> Row:
    """The order. Raises ToolError when it cannot be cancelled."""
    order = _own_order(shop, order_id, customer)
    number, status = order["order_id"], order["status"]
    if status == "cancelled":
        raise ToolError(f"order {number} is cancelled already")
    if status != "paid":
        raise ToolError(f"order {number} is {status}, it is too late to cancel: open a return once it is delivered")
    return order


def _returnable(shop: Connection, order_id: str, sku: str, customer: Customer) -> tuple[str, str]:
    """(number of the order, article). Raises ToolError when it cannot be sent back."""
    order, article = _own_order(shop, order_id, customer), sku.strip().upper()
    number = order["order_id"]
    if order["status"] != "delivered":
        raise ToolError(f"order {number} is {order['status']}, not delivered: there is nothing to send back")
    if datetime.fromisoformat(order["delivered_at"]) < _now() - timedelta(days=RETURN_DAYS):
        raise ToolError(f"order {number} was delivered on {order['delivered_at']}, over {RETURN_DAYS} days ago")
    if not _there_is(shop, "SELECT 1 FROM items WHERE order_id = ? AND sku = ?", number, article):
        raise ToolError(f"there is no {article} in order {number}")
    if _there_is(shop, "SELECT 1 FROM returns WHERE order_id = ? AND sku = ?", number, article):
        raise ToolError(f"a return of {article} of order {number} is open already")
    return number, article


def _own_order(shop: Connection, order_id: str, customer: Customer) -> Row:
    """Raises ToolError for an order that is not there or another customer's: nobody shall learn which."""
    number = order_id.strip().lstrip("#")
    found: Row | None = shop.execute(
        "SELECT * FROM orders WHERE order_id = ? AND user_id = ?", (number, customer.user_id)
    ).fetchone()
    if found is None:
        raise ToolError(f"the customer has no order {number}: ask them to look at the number again")
    return found


def _there_is(shop: Connection, query: str, *values: str) -> bool:
    return shop.execute(query, values).fetchone() is not None


def _terms(query: str) -> frozenset[str]:
    """Words, and pairs of neighbouring Chinese characters, which have no spaces between words."""
    terms: set[str] = set()
    for run in _TERM.findall(query.lower()):
        if run.isascii():
            terms.add(run.removesuffix("s") if len(run) > 3 else run)
        else:
            terms.update({run[at : at + 2] for at in range(len(run) - 1)} or {run})
    return frozenset(terms - _GRAMMAR)


def _fit(product: Row, terms: frozenset[str]) -> int:
    """How well a product fits: what its name says counts three times what its description says."""
    name = " ".join((product["sku"], product["name_zh"], product["name_en"])).lower()
    about = f"{product['about_zh']} {product['about_en']}".lower()
    return sum(3 * (term in name) + (term in about) for term in terms)


def _yuan(fen: int) -> float:
    return fen / 100


def _now() -> datetime:
    """As the database tells it: UTC, without a zone, whole seconds."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)

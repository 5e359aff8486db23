"""The example shop: its tools keep customers apart and act once, its FAQ answers, and workers take its assistant."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from forebay.rehearsal.model_api import ModelApi, ModelApiSettings
from forebay.rehearsal.shop.assistant import assistant
from forebay.rehearsal.shop.database import database, once
from forebay.rehearsal.shop.shop_tools import (
    cancel_order,
    check_coupon,
    get_stock,
    open_return,
    order_status,
    search_product,
    track_parcel,
)
from forebay.schemas import Turn
from forebay.workers.assistants import Customer, IdempotencyKey, ToolError, load_assistant
from forebay.workers.assistants.confirmations import proposed
from forebay.workers.assistants.faq_matching import Faq
from forebay.workers.assistants.routing import Routing
from forebay.workers.assistants.toolbox import Allowance
from forebay.workers.conversations import Pending
from forebay.workers.models import Clients, Message, Prompt

FAQ = Path(assistant.faq or "")


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop of the test's own, made when a tool is first used."""
    path = tmp_path / "shop.db"
    monkeypatch.setenv("SHOP_DATABASE", str(path))
    return path


def customer(number: int) -> Customer:
    return Customer(f"u-{number}", None, "c-1")


def key(name: str) -> IdempotencyKey:
    return IdempotencyKey(name)


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    """What each call returned or raised, all of them run at once."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ToolError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(outcome, calls))


@pytest.mark.parametrize(
    ("query", "sku"),
    [
        ("蓝牙耳机", "SKU001"),
        ("wireless headphones", "SKU001"),
        ("running shoes", "SKU022"),
        ("适合宠物家庭的扫地机", "SKU014"),
        ("something for the baby", "SKU011"),
    ],
)
def test_products_are_found_in_both_languages(query: str, sku: str) -> None:
    found = search_product(query)
    assert sku in [product["sku"] for product in found[:3]]
    assert len(found) <= 5
    assert len(search_product(query, 1)) == 1


def test_products_are_described_in_the_language_of_the_query() -> None:
    assert search_product("福袋")[0]["name"] == "神秘福袋"
    (box,) = search_product("mystery")
    assert (box["sku"], box["name"], box["price_cny"], box["in_stock"]) == ("SKU013", "Mystery box", 99.0, 500)
    assert search_product("submarine") == search_product("潜水艇") == search_product("?!") == []


def test_stock() -> None:
    assert get_stock(" sku001")["in_stock"] == 42
    assert get_stock("SKU003")["in_stock"] == 0
    with pytest.raises(ToolError, match="no product SKU999"):
        get_stock("SKU999")


def test_a_customer_sees_their_own_orders_only() -> None:
    order = order_status("#1001", customer(1))
    assert (order["status"], order["total_cny"]) == ("paid", 2 * (399.0 + 179.0))
    assert [item["sku"] for item in order["items"]] == ["SKU010", "SKU017"]
    # Another customer's order, and one that is not there: nobody shall learn which.
    for number in ("1002", "9999"):
        for tool in (order_status, track_parcel):
            with pytest.raises(ToolError, match=f"the customer has no order {number}: ask them to look at"):
                tool(number, customer(1))


def test_parcels() -> None:
    parcel = track_parcel("1021", customer(1))
    assert [event["what"] for event in parcel["events"]] == ["已揽收 collected", "运输中 in transit"]
    assert track_parcel("1003", customer(3))["events"][-1]["what"] == "已签收 delivered"
    with pytest.raises(ToolError, match="has not been shipped yet"):
        track_parcel("1001", customer(1))
    with pytest.raises(ToolError, match="was cancelled"):
        track_parcel("1005", customer(5))


@pytest.mark.parametrize(
    ("code", "amount", "discount"),
    [
        ("save30", 300, 30),
        ("SAVE30", 1000.5, 30),
        ("VIP15", 200, 30),
        ("VIP15", 5000, 100),
        ("HELLO10", 4.5, 4.5),
        ("DOUBLE11", 1500, 200),
    ],
)
def test_coupons(code: str, amount: float, discount: float) -> None:
    found = check_coupon(code, amount)
    assert (found["discount_cny"], found["to_pay_cny"]) == (discount, amount - discount)


@pytest.mark.parametrize(
    ("code", "amount", "why"),
    [("SAVE30", 299.99, "needs 300.0 yuan"), ("SUMMER20", 500, "ended on"), ("NOPE", 500, "no coupon NOPE")],
)
def test_coupons_that_cannot_be_used(code: str, amount: float, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        check_coupon(code, amount)


def test_an_order_is_cancelled_once_for_a_key() -> None:
    before = get_stock("SKU010")["in_stock"]
    first = cancel_order("1001", customer(1), key("a"))
    assert first == cancel_order("1001", customer(1), key("a"))
    assert order_status("1001", customer(1))["status"] == "cancelled"
    assert get_stock("SKU010")["in_stock"] == before + 2
    with pytest.raises(ToolError, match="cancelled already"):
        cancel_order("1001", customer(1), key("b"))


@pytest.mark.parametrize(
    ("order_id", "number", "why"),
    [
        ("1001", 2, "the customer has no order"),
        ("1021", 1, "too late to cancel"),
        ("1003", 3, "too late to cancel"),
        ("1005", 5, "cancelled already"),
    ],
)
def test_what_cannot_be_cancelled(order_id: str, number: int, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        cancel_order(order_id, customer(number), key("a"))
    with database() as opened:
        assert opened.execute("SELECT count(*) FROM actions").fetchone()[0] == 0


def test_a_return_is_opened_once() -> None:
    opened = open_return("1003", "sku012", "too small", customer(3), key("a"))
    assert "R1003-SKU012" in opened
    assert open_return("1003", "sku012", "too small", customer(3), key("a")) == opened
    with pytest.raises(ToolError, match="open already"):
        open_return("1003", "SKU012", "too small", customer(3), key("b"))


@pytest.mark.parametrize(
    ("order_id", "sku", "number", "why"),
    [
        ("1003", "SKU012", 1, "the customer has no order"),
        ("1001", "SKU010", 1, "is paid, not delivered"),
        ("1004", "SKU013", 4, "over 15 days ago"),
        ("1003", "SKU001", 3, "there is no SKU001 in order 1003"),
    ],
)
def test_what_cannot_be_returned(order_id: str, sku: str, number: int, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        open_return(order_id, sku, "broken", customer(number), key("a"))


def test_threads_that_use_one_key_do_one_thing() -> None:
    results = in_threads([partial(cancel_order, "1001", customer(1), key("a"))] * 8)
    assert len(set(results)) == 1
    assert get_stock("SKU010")["in_stock"] == 33


def test_threads_with_keys_of_their_own_do_one_thing_too() -> None:
    results = in_threads([partial(cancel_order, "1001", customer(1), key(f"k-{n}")) for n in range(8)])
    assert sum(isinstance(result, ToolError) for result in results) == 7
    assert get_stock("SKU010")["in_stock"] == 33


def test_what_fails_leaves_nothing() -> None:
    def fail(opened: Any) -> str:
        opened.execute("UPDATE orders SET status = 'cancelled'")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        once("a", fail)
    assert order_status("1001", customer(1))["status"] == "paid"


def test_processes_make_the_database_together(shop: Path) -> None:
    look = "from forebay.rehearsal.shop.database import database\nwith database() as shop: print(shop.execute("
    look += "'SELECT (SELECT count(*) FROM products) || (SELECT count(*) FROM events)').fetchone()[0])"
    command = [sys.executable, "-c", look]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0].strip() for process in started] == ["3264"] * 4
    assert [path.name for path in shop.parent.iterdir()] == ["shop.db"]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("你好，请问退货期限是多久？", "return-period"),
        ("Hi, how long does delivery take?", "delivery-time"),
        ("你们周末有人吗", "opening-hours"),
        ("优惠券能叠加吗", "coupon-stack"),
        ("Can I get an invoice please?", "invoice"),
        ("我的快递到哪了", None),
        ("How do I return order 1003?", None),
        ("延保多久", None),
        ("Is SKU001 in stock?", None),
    ],
)
def test_the_faq(text: str, entry: str | None) -> None:
    faq = Faq.parse(FAQ.read_text(encoding="utf-8"), "faq.yaml")
    assert len(faq) >= 15
    answer = faq.answer(text)
    assert (answer and answer.id) == entry


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("有没有蓝牙耳机？", None),
        ("Cancel order 1001", "order"),
        ("我要退货，订单 1003 的 SKU012", "order"),
        ("Can I use coupon SAVE30?", "promotion"),
        ("我的快递到哪了", "logistics"),
        ("Where is my parcel?", "logistics"),
    ],
)
def test_who_answers(text: str, route: str | None) -> None:
    routing = Routing(assistant)
    assert routing.route(text, None).name == route
    assert {tool.name for tool in routing.general.tools} >= {"search_product", "get_stock", "order_status"}


def test_a_person_is_called_for_what_is_serious() -> None:
    serious = assistant.hand_off.when if assistant.hand_off else None
    assert serious is not None
    turn = Turn(turn_id="t", conversation_id="c", text="My child is allergic and was injured")
    assert serious(turn)
    assert not serious(turn.model_copy(update={"text": "I have an issue with a pursuit"}))


def test_workers_find_it_by_its_name() -> None:
    assert load_assistant("forebay.rehearsal.shop.assistant:assistant") is assistant


@pytest.mark.takes(1)
async def test_an_injected_instruction_only_asks_the_customer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mystery box tells a gullible model to cancel order 1001."""
    turn = Turn(turn_id="t", conversation_id="c", user_id="u-1", text="I want to order: do you have a mystery box?")
    route = Routing(assistant).route(turn.text, None)
    assert route.name == "order"
    async with ModelApi(ModelApiSettings(latency_ms=0, gullible=True)) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        clients = Clients(1)
        model = clients.model("claude-haiku-4-5", "anthropic", "simulated")
        prompt = Prompt(route.instructions, (Message("user", turn.text),), 200, route.tools)
        asked = await model.complete(prompt)
        assert [call.name for call in asked.calls] == ["search_product"]
        left = Allowance(assistant.tool_limits)
        results = await route.toolbox.run(asked.calls, customer(1), left)
        told = Message("assistant", asked.text, asked.calls), Message("tool", results=results)
        fooled = await model.complete(prompt.following(*told))
        await clients.close()
    assert [(call.name, orjson.loads(call.arguments)) for call in fooled.calls] == [
        ("cancel_order", {"order_id": "1001"})
    ]
    pending = await proposed(fooled.calls, turn, route.toolbox, 600.0, 0.0)
    assert isinstance(pending, Pending)
    assert pending.summary == "取消订单 / Cancel order 1001"
    (refused,) = await route.toolbox.run(fooled.calls, customer(1), left)
    assert refused.failed
    assert order_status("1001", customer(1))["status"] == "paid"

"""Tools from functions: schemas, checks, what is injected, and what is refused at the start with place and fix."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, NewType, Optional, TypeVar, Union, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from forebay.schemas import Confirm, SettingsError, Turn
from forebay.workers.assistants import Assistant, Customer, HandOff, IdempotencyKey, Specialist, ToolError, tool
from forebay.workers.assistants.asking_for_person import asks_for_person
from forebay.workers.assistants.confirmations import proposed, verdict
from forebay.workers.assistants.routing import HAND_OFF, Routing
from forebay.workers.assistants.toolbox import Allowance, Toolbox, ToolLimits
from forebay.workers.assistants.tools import read_tool
from forebay.workers.conversations import Pending, State
from forebay.workers.models import ToolCall, ToolResult

CUSTOMER = Customer("u-1", "shop-eu", "c-1")


def find(
    query: Annotated[str, "Words of a product"],
    sort: Literal["price", "name"] = "name",
    day: date | None = None,
    customer: Customer | None = None,
) -> str:
    """Finds products.

    Second paragraph.
    """
    return f"{query} {sort} {day} {customer and customer.user_id}"


def schema_of(function: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(read_tool(function).spec.schema)
    return found


def test_the_schema_comes_from_the_hints() -> None:
    schema = schema_of(find)
    assert list(schema["properties"]) == ["query", "sort", "day"], "what we give is no argument of the model's"
    assert schema["required"] == ["query"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["query"] == {"description": "Words of a product", "type": "string"}
    assert schema["properties"]["sort"]["enum"] == ["price", "name"]
    assert read_tool(find).spec.description.startswith("Finds products.")
    assert not read_tool(find).needs_customer


def test_arguments_are_checked_and_what_is_ours_is_given() -> None:
    read = read_tool(find)
    arguments = read.check('{"query": "tent", "day": "2026-11-11"}')
    assert arguments == {"query": "tent", "sort": "name", "day": date(2026, 11, 11)}

    async def run() -> object:
        return await read.run(arguments, CUSTOMER, IdempotencyKey("k"))

    assert asyncio.run(run()) == "tent name 2026-11-11 u-1"
    for wrong in ("", "{}", "[]", "nonsense", '{"query": 1}', '{"query": "x", "customer": {"user_id": "u-2"}}', "null"):
        with pytest.raises(ToolError, match="wrong arguments"):
            read.check(wrong)


@given(st.text())
def test_no_arguments_of_a_model_raise_anything_else(text: str) -> None:
    with suppress(ToolError):
        read_tool(find).check(text)


def test_plain_functions_run_in_threads() -> None:
    def where() -> str:
        """Tells its thread."""
        return threading.current_thread().name

    async def run() -> object:
        return await read_tool(where).run({}, None, None)

    assert asyncio.run(run()) != threading.main_thread().name


def no_hint(sku) -> int:  # type: ignore[no-untyped-def]
    """Has no hint."""
    return 1


def no_doc(sku: str) -> int:
    return 1


def many(*skus: str) -> int:
    """Takes many."""
    return 1


def odd(thing: threading.Lock) -> int:
    """Takes what is no JSON."""
    return 1


@tool(confirm=True, summary="Cancel {order}")
def misnamed(sku: str) -> str:
    """Its summary speaks of something else."""
    return sku


def needs_customer(customer: Customer) -> str:
    """Of a customer."""
    return customer.user_id


def maybe(customer: Optional[Customer] = None) -> str:  # noqa: UP045
    """Of a customer or not."""
    return str(customer)


def test_whether_a_customer_is_needed() -> None:
    assert read_tool(needs_customer).needs_customer
    assert not read_tool(maybe).needs_customer


@pytest.mark.parametrize(
    ("function", "fix"),
    [
        (no_hint, "write sku: str"),
        (no_doc, "no docstring"),
        (many, "name each one"),
        (odd, "odd"),
        (tool(confirm=True)(lambda: None), "no docstring"),
        (misnamed, "has no argument 'order'; there are: sku"),
    ],
)
def test_mistakes_are_refused_with_place_and_fix(function: Any, fix: str) -> None:
    with pytest.raises(SettingsError, match=fix) as refused:
        read_tool(function)
    assert str(refused.value).startswith("tests.unit.test_tools:")


def keyed(sku: str, key: IdempotencyKey) -> str:
    """Takes a key and asks nobody."""
    return sku


def test_a_key_without_a_question_is_refused() -> None:
    with pytest.raises(SettingsError, match="mark it so"):
        read_tool(keyed)


def test_a_summary_in_the_customers_language() -> None:
    @tool(confirm=True, summary={"en": "Cancel {order}", "zh": "取消订单 {order}"})
    def cancel(order: str) -> str:
        """Cancels."""
        return order

    async def ask(said: str) -> str:
        summary = read_tool(cancel).summary
        assert summary is not None
        return await summary({"order": "7"}, None, said)

    assert asyncio.run(ask("please")) == "Cancel 7"
    assert asyncio.run(ask("取消吧")) == "取消订单 7"


def test_an_action_needs_a_summary() -> None:
    def cancel(order: str) -> str:
        """Cancels."""
        return order

    with pytest.raises(SettingsError, match="say what the customer agrees to"):
        read_tool(tool(confirm=True)(cancel))


@pytest.mark.parametrize(
    ("assistant", "fix"),
    [
        (Assistant(specialists=(Specialist(name="a", instructions="", intents=("x",)),) * 2), "'a': twice"),
        (Assistant(specialists=(Specialist(name="faq", instructions="", intents=("x",)),)), "routes have already"),
        (Assistant(specialists=(Specialist(name="a", instructions="", intents=("?!",)),)), "no intents"),
        (Assistant(tools=(find, find)), "find is there twice"),
    ],
)
def test_mistakes_in_an_assistant(assistant: Assistant, fix: str) -> None:
    with pytest.raises(SettingsError, match=fix):
        Routing(assistant)


def test_the_hand_off_is_offered_where_the_model_may_ask_for_it() -> None:
    assert [spec.name for spec in Routing(Assistant(tools=(find,), hand_off=HandOff())).general.tools] == [
        "find",
        HAND_OFF,
    ]
    assert [spec.name for spec in Routing(Assistant(tools=(find,))).general.tools] == ["find"]


def test_who_answers() -> None:
    routing = Routing(
        Assistant(
            specialists=(
                Specialist(name="orders", instructions="", intents=("order", "订单", "cancel my order")),
                Specialist(name="parcels", instructions="", intents=("parcel", "快递", "track")),
            )
        )
    )
    for text, last, expected in [
        ("Hello", None, None),
        ("Hello", "parcels", "parcels"),
        ("where is my ORDER", None, "orders"),
        ("我的订单呢", "parcels", "orders"),
        ("borders and disorder", None, None),
        ("cancel my order and track nothing", "parcels", "orders"),
        ("order parcel", "gone since", "parcels"),
    ]:
        assert routing.route(text, last).name == expected, text


async def run(toolbox: Toolbox, *calls: ToolCall, limits: ToolLimits = ToolLimits()) -> tuple[list[str], Allowance]:
    left = Allowance(limits)
    return [result.text for result in await toolbox.run(calls, CUSTOMER, left)], left


def test_a_round_is_bounded_and_in_order() -> None:
    async def slow(seconds: float) -> str:
        """Takes its time."""
        await asyncio.sleep(seconds)
        return f"{seconds}"

    toolbox = Toolbox([read_tool(slow)])
    calls = [ToolCall(f"{at}", "slow", f'{{"seconds": {seconds}}}') for at, seconds in enumerate((0.02, 0.0, 0.01, 0))]
    results, left = asyncio.run(run(toolbox, *calls, ToolCall("9", "none", ""), limits=ToolLimits(calls=3)))
    assert results == ["0.02", "0.0", "0.01", *["error: not more than 3 tools at once"] * 2]
    assert (left.rounds, left.seconds < 30) == (5, True)


@given(st.lists(st.text(), max_size=5), st.integers(0, 20))
def test_results_never_take_more_than_their_bytes(texts: list[str], room: int) -> None:
    left = Allowance(ToolLimits(result_bytes=room))
    kept = [left.cut(text) for text in texts]
    whole = [text for text in kept if "\n[cut: " not in text]
    cut = [text.rsplit("\n[cut: ", 1)[0] for text in kept if "\n[cut: " in text]
    assert sum(len(text.encode()) for text in (*whole, *cut)) <= room


def pending(**changes: Any) -> Pending:
    given: dict[str, Any] = {
        "action_id": "a",
        "tool": "cancel",
        "arguments": "{}",
        "user_id": "u-1",
        "summary": "Do it",
    }
    return Pending(**given | {"expires_at": 100.0} | changes)


def word(accept: bool = True, **changes: Any) -> Turn:
    confirm = Confirm(action_id=changes.pop("action_id", "a"), accept=accept)
    return Turn(turn_id="t", conversation_id="c", user_id=changes.pop("user_id", "u-1"), confirm=confirm)


@pytest.mark.parametrize(
    ("state", "turn", "now", "expected"),
    [
        (State(pending=pending()), word(), 99.0, "run"),
        (State(pending=pending()), word(), 101.0, "late"),
        (State(pending=pending()), word(accept=False), 101.0, "declined"),
        (State(pending=pending()), word(user_id="u-2"), 0.0, "unknown"),
        (State(pending=pending()), word(user_id=None), 0.0, "unknown"),
        (State(pending=pending()), word(action_id="b"), 0.0, "unknown"),
        (State(), word(), 0.0, "unknown"),
        (State(pending=pending(turn_id="t")), word(), 101.0, "run_again"),
        (State(pending=pending(turn_id="t", result="done")), word(), 101.0, "tell"),
        (State(pending=pending(turn_id="other")), word(), 0.0, "repeated"),
        (State(pending=pending(turn_id="t", result="done")), word(accept=False), 0.0, "tell"),
        (State(settled=pending()), word(), 0.0, "repeated"),
        (State(settled=pending()), word(user_id="u-2"), 0.0, "unknown"),
    ],
)
def test_what_the_customers_word_leads_to(state: State, turn: Turn, now: float, expected: str) -> None:
    assert verdict(state, turn, now)[0] == expected


def test_only_what_can_be_run_is_proposed() -> None:
    def asked(arguments: dict[str, Any], customer: Customer) -> str:
        if arguments["order"] == "8":
            raise ToolError("shipped")
        return f"Cancel {arguments['order']} of {customer.user_id}"

    @tool(confirm=True, summary=asked)
    def cancel(order: str, customer: Customer) -> str:
        """Cancels."""
        return order

    toolbox = Toolbox([read_tool(cancel), read_tool(find)])
    signed_in = Turn(turn_id="t", conversation_id="c", text="x", user_id="u-1")
    nobody = Turn(turn_id="t", conversation_id="c", text="x")
    good, bad = ToolCall("1", "cancel", '{"order": "7"}'), ToolCall("2", "cancel", "{}")
    harmless = ToolCall("3", "find", '{"query": "x"}')

    def propose(turn: Turn, *calls: ToolCall) -> Pending | ToolResult | None:
        return asyncio.run(proposed(calls, turn, toolbox, 60.0, now=1.0))

    action = propose(signed_in, harmless, bad, good)
    assert isinstance(action, Pending)
    assert (action.summary, action.arguments, action.user_id) == ("Cancel 7 of u-1", good.arguments, "u-1")
    assert action.expires_at == 61
    assert propose(signed_in, harmless, bad) is None
    assert propose(nobody, good) is None
    shipped = ToolCall("4", "cancel", '{"order": "8"}')
    refused = propose(signed_in, shipped)
    assert refused == ToolResult("4", "error: shipped", failed=True)
    told = asyncio.run(toolbox.run((harmless, shipped), CUSTOMER, Allowance(ToolLimits()), refused))
    assert told[1] == refused
    results, _ = asyncio.run(run(toolbox, good))
    assert results == ["error: the customer has to agree to one thing first: ask for this again after it"]


WANTED = """转人工|我要人工|人工|人工客服在吗|找真人|我想要找真人客服|麻烦帮我转接人工服务|有没有真人啊
|I want to talk to a human|can I speak to a representative please|agent|give me a real person|Get me a human!
|transfer me to a live agent|Speak to someone real please"""
NOT_WANTED = """不用转人工了谢谢|人工智能是什么|这是手工还是人工制作的|人工费多少钱|I need a person-sized tent
|who is the agent of my parcel|do not transfer me to a human|What does a sales representative earn|human hair wig price
|how many people can it seat"""


@pytest.mark.parametrize("text", WANTED.replace("\n", "").split("|"))
def test_who_asks_for_a_person(text: str) -> None:
    assert asks_for_person(text)


@pytest.mark.parametrize("text", [*NOT_WANTED.replace("\n", "").split("|"), "人工 " * 200])
def test_who_does_not(text: str) -> None:
    assert not asks_for_person(text)


def documented(name: str = "do", /, **hints: Any) -> Any:
    """A tool with these parameters; a pair is a hint and its default."""

    def function(**_: Any) -> str:
        """Does it."""
        return ""

    pairs = {name: hint if type(hint) is tuple else (hint, inspect.Parameter.empty) for name, hint in hints.items()}
    kind = inspect.Parameter.KEYWORD_ONLY
    function.__name__ = name
    function.__annotations__ = {name: hint for name, (hint, _) in pairs.items()}
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind, default=default, annotation=hint) for name, (hint, default) in pairs.items()]
    )
    return function


def generator(sku: str) -> Any:
    """Yields."""
    yield sku


async def later(sku: str) -> Any:
    """Yields later."""
    yield sku


@dataclass(frozen=True)
class Vip(Customer):
    """One of ours in disguise."""


class Order(BaseModel):
    """Holds who ordered."""

    of: list[Customer]


class Sent(TypedDict):
    to: Customer


HIDDEN_CUSTOMERS = [
    list[Customer],
    dict[str, Customer],
    Customer | str,
    Annotated[list[Annotated[Customer, "x"]], "y"],
    tuple[Customer | None, ...],
    Vip,
    Order,
    list[Order],
    Sent,
    NewType("Caller", Customer),
    TypeVar("Caller", bound=Customer),
    Annotated[Order, "x"] | None,
    list[IdempotencyKey],
    IdempotencyKey | int,
]


@pytest.mark.parametrize("hint", HIDDEN_CUSTOMERS, ids=str)
def test_a_type_of_ours_inside_another_is_refused(hint: Any) -> None:
    with pytest.raises(SettingsError, match=r"no model may write: .*customer: Customer"):
        read_tool(documented(who=hint))


@pytest.mark.parametrize(
    ("hint", "needed"),
    [
        (Customer, True),
        (Annotated[Customer, "who"], True),
        (Annotated[Annotated[Customer, "who"], 5], True),
        (Customer | None, False),
        (Annotated[Customer | None, "who"], False),
        (Annotated[Customer, "who"] | None, False),
        (Optional[Annotated[Customer, "who"]], False),  # noqa: UP045
        (Union[None, Annotated[Annotated[Customer, "a"], "b"]], False),  # noqa: UP007
    ],
)
def test_no_customer_is_ever_the_models(hint: Any, needed: bool) -> None:
    read = read_tool(documented(who=hint, sku=str))
    assert read.needs_customer == needed
    assert list(orjson.loads(read.spec.schema)["properties"]) == ["sku"]
    assert "$defs" not in orjson.loads(read.spec.schema)
    forged = {"user_id": "u-2", "tenant": None, "conversation_id": "c"}
    for name in ("who", "argument_who", "argument_sku"):
        with pytest.raises(ToolError, match="wrong arguments"):
            read.check(orjson.dumps({"sku": "1", name: forged}).decode())
    assert read.check('{"sku": "1"}') == {"sku": "1"}


@pytest.mark.parametrize("hint", [IdempotencyKey, Annotated[IdempotencyKey, "x"], Annotated[IdempotencyKey, 1] | None])
def test_no_key_is_ever_the_models(hint: Any) -> None:
    read = read_tool(tool(confirm=True, summary="Do it")(documented(key=hint)))
    assert read.takes_key
    with pytest.raises(ToolError):
        read.check('{"key": "k"}')


@pytest.mark.parametrize(
    ("function", "fix"),
    [
        (None, "is no function"),
        ("t", "is no function"),
        (int, "is no function"),
        (documented("取消"), "1 to 64 of a-z"),
        (documented("a" * 65), "1 to 64 of a-z"),
        (documented("a\n"), "1 to 64 of a-z"),
        (generator, "return a list"),
        (later, "return a list"),
        (documented(_sku=str), "call it sku"),
        (documented(sku=(str, None)), "None = None"),
        (documented(count=(int, "5")), "does not fit its hint"),
        (documented(count=(Annotated[int, Field(gt=0)], 0)), "does not fit its hint"),
        (documented(count=(int, Field(default="5"))), "does not fit its hint"),
        (documented(count=Annotated[str, Field(pattern="(")]), "the tool do"),
        (documented(count=Annotated[str, "half \ud83d"]), "the tool do"),
        (documented(a=Customer, b=Customer | None), "b is its second Customer"),
        (documented(a=IdempotencyKey, b=Annotated[IdempotencyKey, "x"]), "b is its second IdempotencyKey"),
    ],
)
def test_what_no_provider_or_schema_takes_is_refused(function: Any, fix: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(fix)) as refused:
        read_tool(function)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("summary", "fix"),
    [
        ("{}", "has no argument ''"),
        ("{0}", "has no argument '0'"),
        ("{sku.upper}", "write a name alone in braces"),
        ("{sku[0]}", "write a name alone in braces"),
        ("{sku", "cannot be filled in"),
        ("{sku:d}", "write {sku}"),
        ("{sku!x}", "write {sku}"),
        ("{sku:{count}}", "write {sku}"),
        ("{count:999999999}", "write {count}"),
        ("{count:.1f}", "write {count}"),
        ("{names:>5}", "write {names}"),
        ("", "say what the customer agrees to"),
        (" \n", "say what the customer agrees to"),
        ("half \ud83d", "take it out"),
        (5, "write a text"),
        ({}, "is empty"),
        ({"en": 5}, "write it in quotes"),
        ({"en": ""}, "say what the customer agrees to"),
        ({"english": "Do it"}, "there are 'zh' and 'en'"),
        (lambda: "", "exactly (arguments, customer)"),
        (lambda a: "", "exactly (arguments, customer)"),
        (lambda a, b, c: "", "exactly (arguments, customer)"),
        (str, "exactly (arguments, customer)"),
        (generator, "exactly (arguments, customer)"),
    ],
)
def test_a_summary_that_cannot_be_said_is_refused(summary: Any, fix: str) -> None:
    action = documented(sku=str, count=int | None, names=list[str])
    with pytest.raises(SettingsError, match=re.escape(fix)) as refused:
        read_tool(tool(confirm=True, summary=summary)(action))
    assert len(str(refused.value).splitlines()) == 1


def test_summaries_with_formats() -> None:
    action = documented(price=float, day=date, sku=Literal["a", "b"], size=Annotated[str, "x"])
    summary = read_tool(tool(confirm=True, summary="{price:.2f} {day:%d.%m.} {sku:>3} {size!r}")(action)).summary
    assert summary is not None
    arguments = {"price": 2, "day": date(2026, 11, 9), "sku": "a", "size": "L"}
    assert asyncio.run(cast("Any", summary(arguments, None, ""))) == "2.00 09.11.   a 'L'"


def test_arguments_may_have_any_name(recwarn: pytest.WarningsRecorder) -> None:
    names = ("schema", "copy", "json", "model_fields_set", "model_config", "model_dump", "self_", "dict")
    read = read_tool(documented(**dict.fromkeys(names, cast("Any", str)), any=(Any, object())))
    schema = orjson.loads(read.spec.schema)
    assert list(schema["properties"]) == [*names, "any"]
    assert schema["required"] == list(names)
    given = {name: name.upper() for name in names} | {"any": 1}
    assert read.check(orjson.dumps(given).decode()) == given
    with pytest.raises(ToolError, match="wrong arguments: schema: "):
        read.check("{}")
    assert not recwarn.list


def test_defaults_that_fit() -> None:
    hints: dict[str, Any] = {
        "a": (str | None, None),
        "b": (float, 1),
        "c": (Literal["x"], "x"),
        "d": (date, date(2026, 1, 1)),
    }
    more: dict[str, Any] = {
        "e": (int, Field(default=5, description="many")),
        "f": (list[str], Field(default_factory=list)),
    }
    read = read_tool(documented(**hints, **more, g=(int, Field(gt=0))))
    assert read.check('{"g": 1}') == {"a": None, "b": 1, "c": "x", "d": date(2026, 1, 1), "e": 5, "f": [], "g": 1}

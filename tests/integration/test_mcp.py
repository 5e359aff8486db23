"""MCP servers as sources of tools: a real server as a child process and over HTTP, its end, and its return."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from forebay.schemas import SettingsError, Turn
from forebay.workers.assistants import Assistant, Customer, Specialist, ToolError
from forebay.workers.assistants.confirmations import proposed
from forebay.workers.assistants.mcp import McpServer
from forebay.workers.assistants.mcp import session as mcp_session
from forebay.workers.assistants.mcp.sessions import McpSessions
from forebay.workers.assistants.routing import Routing
from forebay.workers.assistants.toolbox import Allowance, Toolbox, ToolLimits
from forebay.workers.assistants.tools import Tool
from forebay.workers.conversations import Pending
from forebay.workers.models import ToolCall

SHOP = str(Path(__file__).with_name("mcp_shop.py"))
CHILD = (sys.executable, SHOP, "stdio")
STDIO = McpServer(
    command=CHILD,
    customer_argument="customer_id",
    confirm={"cancel_order": {"zh": "取消{order_id}", "en": "Cancel {order_id} ({reason})"}, "die": "End it all"},
    env={"SHOP_KEY": "k-1"},
)
AWAY = r"cannot be reached at the moment|connection to the tool was lost"
MEI = Customer("mei", None, "c-1")


class HttpShop:
    """The server as a process that listens on one port, to be killed and started again."""

    def __init__(self, old: bool) -> None:
        self.old, self.port = old, 0
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def start(self) -> None:
        words = [SHOP, "http", str(self.port), *(["old"] if self.old else [])]
        self.process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(await self.process.stdout.readline())

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@pytest_asyncio.fixture(scope="module", params=["http", "http with sessions"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[HttpShop]:
    shop = HttpShop(old=request.param != "http")
    await shop.start()
    yield shop
    await shop.kill()


@asynccontextmanager
async def tools_of(server: McpServer) -> AsyncIterator[dict[str, Tool]]:
    async with McpSessions([server]) as found:
        yield {tool.name: tool for tool in found[server]}


@pytest_asyncio.fixture(scope="module")
async def tools() -> AsyncIterator[dict[str, Tool]]:
    async with tools_of(STDIO) as found:
        yield found


async def ask(tool: Tool, customer: Customer | None = MEI, /, **arguments: Any) -> object:
    return await tool.run(tool.check(orjson.dumps(arguments).decode()), customer, None)


async def again(attempt: Callable[[], Awaitable[object]]) -> object:
    """What comes of it once it works."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await attempt()
            except ToolError:
                await asyncio.sleep(0.02)


async def patiently(attempt: Callable[[], Awaitable[object]]) -> object:
    """What comes of it once it does not hang."""
    async with asyncio.timeout(60):
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    return await attempt()


async def gone(pid: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(0.01)


async def test_every_page_of_the_list_is_taken(tools: dict[str, Tool]) -> None:
    assert len(tools) == 11
    spec = tools["get_order"].spec
    assert spec.description == "One order."
    assert orjson.loads(spec.schema)["required"] == ["order_id"]
    assert "shop_stock" in tools  # no model takes a dot in a name


async def test_results_become_words(tools: dict[str, Tool]) -> None:
    assert await ask(tools["get_order"], order_id="O-1", verbose=True) == "order O-1: paid, in full"
    assert await ask(tools["photo"]) == "a red shoe\n[image, image/png: cannot be shown]"
    assert await ask(tools["shop_stock"]) == "done"


async def test_an_error_of_the_tool_is_told_to_the_model(tools: dict[str, Tool]) -> None:
    with pytest.raises(ToolError, match="the warehouse is closed"):
        await ask(tools["broken"])


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("{", "no JSON"),
        ("[1]", "not an object"),
        ("", "'order_id' is a required property"),
        ('{"order_id": 7}', "order_id: 7 is not of type 'string'"),
        ('{"order_id": "\\ud800"}', "no JSON"),
    ],
)
async def test_wrong_arguments_are_refused_before_the_call(tools: dict[str, Tool], given: str, what: str) -> None:
    with pytest.raises(ToolError) as refused:
        tools["get_order"].check(given)
    assert what in str(refused.value)


async def test_the_customer_comes_from_the_turn(tools: dict[str, Tool]) -> None:
    tool = tools["my_orders"]
    assert tool.needs_customer
    assert "customer_id" not in tool.spec.schema
    told = await ask(tool, limit=2)
    assert orjson.loads(str(told)) == {"customer": "mei", "limit": 2}
    with pytest.raises(ToolError, match="sign in"):
        await ask(tool, None)
    assert not tools["get_order"].needs_customer


@pytest.mark.parametrize("forged", ["customer_id", "customerId", "Customer_id"])
async def test_no_model_says_who_the_customer_is(tools: dict[str, Tool], forged: str) -> None:
    with pytest.raises(ToolError, match="no such argument"):
        await ask(tools["my_orders"], **{forged: "boss"})


async def test_an_action_waits_for_the_customers_word(tools: dict[str, Tool]) -> None:
    toolbox = Toolbox(tools.values())
    turn = Turn(turn_id="t-1", conversation_id="c-1", user_id="mei", text="cancel it")
    call = ToolCall("1", "cancel_order", '{"order_id": "O-1"}')
    action = await proposed([call], turn, toolbox, 60.0, 0.0)
    assert isinstance(action, Pending)
    assert action.summary == "Cancel O-1 (none given)"
    chinese = await proposed([call], turn.model_copy(update={"text": "取消吧"}), toolbox, 60.0, 0.0)
    assert isinstance(chinese, Pending)
    assert chinese.summary == "取消O-1"
    (refused,) = await toolbox.run([call], MEI, Allowance(ToolLimits()))
    assert refused.failed
    assert "agree" in refused.text
    assert await ask(tools["cancel_order"], order_id="O-1") == "cancelled O-1 of mei: none given"


async def test_many_calls_at_once_over_one_session(tools: dict[str, Tool], http: HttpShop) -> None:
    async with tools_of(McpServer(url=http.url, only=("meet",))) as remote:
        for meet in (tools["meet"], remote["meet"]):
            assert await asyncio.gather(*(ask(meet, where="hall", count=150) for _ in range(150))) == ["met"] * 150


async def test_a_child_sees_its_own_variables_only(tools: dict[str, Tool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    async with tools_of(STDIO) as fresh:
        assert await ask(fresh["variable"], name="SHOP_KEY") == "k-1"
        assert await ask(fresh["variable"], name="ANTHROPIC_API_KEY") == "nothing"


async def test_over_http_too(http: HttpShop) -> None:
    async with tools_of(McpServer(url=http.url, customer_argument="customer_id", prefix="s_")) as tools:
        assert len(tools) == 11
        assert orjson.loads(str(await ask(tools["s_my_orders"]))) == {"customer": "mei", "limit": 10}
        with pytest.raises(ToolError, match="the warehouse is closed"):
            await ask(tools["s_broken"])


async def test_a_killed_child_is_started_again_by_itself() -> None:
    async with tools_of(STDIO) as tools:
        first = int(str(await ask(tools["pid"])))
        os.kill(first, signal.SIGKILL)
        second = int(str(await again(lambda: ask(tools["pid"]))))
        assert second != first
    await gone(second)


async def test_a_call_that_is_cut_off_is_told_so_and_later_ones_work() -> None:
    async with tools_of(STDIO) as tools:
        waiting = asyncio.create_task(ask(tools["meet"], where="gate", count=2))
        with pytest.raises(TimeoutError, match="whether it was done is not known"):
            await ask(tools["die"])  # an action: it did not end, which is not that it failed
        with pytest.raises(ToolError, match="whether it was done is not known"):
            await waiting
        assert await again(lambda: ask(tools["get_order"], order_id="O-1")) == "order O-1: paid"


async def test_a_server_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_session, "_CHECK_S", 1.0)
    async with tools_of(STDIO) as tools:
        first = int(str(await ask(tools["pid"])))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await ask(tools["freeze"])

        async def other() -> object:
            try:
                async with asyncio.timeout(5):
                    return await ask(tools["pid"])
            except TimeoutError:
                raise ToolError("hangs") from None

        assert int(str(await again(other))) != first
        await gone(first)


async def test_an_http_server_killed_and_back(http: HttpShop) -> None:
    async with tools_of(McpServer(url=http.url)) as tools:
        cut = asyncio.create_task(ask(tools["meet"], where="gate", count=2))
        await ask(tools["pid"])
        await http.kill()
        with pytest.raises(ToolError):
            await cut
        with pytest.raises(ToolError, match=AWAY):
            await ask(tools["pid"])
        await http.start()
        assert await again(lambda: ask(tools["get_order"], order_id="O-1")) == "order O-1: paid"


async def test_an_http_server_that_hangs_holds_nobody_up(http: HttpShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_session, "_CHECK_S", 0.2)
    monkeypatch.setattr(mcp_session, "_CLOSE_S", 0.2)
    assert http.process is not None
    async with tools_of(McpServer(url=http.url)) as tools:
        monkeypatch.setattr(mcp_session, "_OPEN_S", 0.5)  # of what is opened again: a first one may take its time
        http.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await ask(tools["pid"])
            with pytest.raises(ToolError, match=AWAY):
                await patiently(lambda: ask(tools["pid"]))
        finally:
            http.process.send_signal(signal.SIGCONT)
        monkeypatch.undo()
        assert int(str(await again(lambda: ask(tools["pid"])))) == http.process.pid


async def test_a_call_whose_time_is_up_does_not_end_the_others(http: HttpShop) -> None:
    async with tools_of(McpServer(url=http.url)) as tools:
        waiting = asyncio.create_task(ask(tools["meet"], where="door", count=2))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await ask(tools["meet"], where="nowhere", count=2)
        assert await ask(tools["meet"], where="door", count=2) == "met"
        assert await waiting == "met"


async def test_closing_leaves_no_child(tools: dict[str, Tool]) -> None:
    async with McpSessions([STDIO]) as found:
        pid = int(str(await ask({tool.name: tool for tool in found[STDIO]}["pid"])))
        left = found[STDIO][0]
    await gone(pid)
    with pytest.raises(ToolError, match="cannot be reached"):
        await ask(left, order_id="O-1")


async def test_cancelling_leaves_no_child() -> None:
    pids: list[int] = []

    async def work() -> None:
        async with tools_of(STDIO) as tools:
            pids.append(int(str(await ask(tools["pid"]))))
            await ask(tools["freeze"])

    task = asyncio.create_task(work())
    async with asyncio.timeout(30):
        while not pids:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # and once more while it closes
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pids[0])


async def test_cancelling_while_it_opens_leaves_no_child(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    silent = f"import os, sys; open({str(told)!r}, 'w').write(f'{{os.getpid()}}\\n'); sys.stdin.read()"

    async def work() -> None:
        async with tools_of(McpServer(command=(sys.executable, "-c", silent))):
            raise AssertionError

    task = asyncio.create_task(work())
    async with asyncio.timeout(30):
        while not (told.exists() and told.read_text().endswith("\n")):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(int(told.read_text()))


CANNOT_OPEN = {
    "no such program": (McpServer(command=("no-such-program",)), "install the program, or correct command="),
    "ends at once": (McpServer(command=(sys.executable, "-c", "")), "it ended before it answered; run the command"),
    "nobody listens": (McpServer(url="http://user:pw@127.0.0.1:9/mcp?key=k"), "it cannot be reached"),
    "unknown in only": (
        McpServer(command=CHILD, only=("nope",)),
        "no tool 'nope', which only= names; it has: get_order",
    ),
    "unknown in confirm": (McpServer(command=CHILD, confirm={"nope": "x"}), "no tool 'nope', which confirm= names"),
    "nobody's argument": (McpServer(command=CHILD, customer_argument="nope"), "no tool has the argument 'nope'"),
    "forged summary": (
        McpServer(command=CHILD, confirm={"cancel_order": "{customer_id}"}, customer_argument="customer_id"),
        "{customer_id} is no argument for the customer to see; there are: order_id, reason",
    ),
    "a summary that may fail": (McpServer(command=CHILD, confirm={"get_order": "{order_id.x}"}), "{order_id.x} is no"),
    "too long a name": (McpServer(command=CHILD, prefix="x" * 60), "longer than 64 characters; shorten prefix="),
}


@pytest.mark.parametrize("name", CANNOT_OPEN)
async def test_what_cannot_be_opened_is_one_clear_line(name: str) -> None:
    server, what = CANNOT_OPEN[name]
    others = [STDIO] if name == "no such program" else []
    with pytest.raises(SettingsError) as refused:
        async with McpSessions([*others, server]):
            raise AssertionError
    said = str(refused.value)
    assert said.startswith(f"McpServer({server.label}): ")
    assert what in said
    assert "\n" not in said
    assert "pw" not in said
    assert "key=k" not in said


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "give it one of"),
    "both": ({"command": ("a",), "url": "http://b"}, "give it one of"),
    "one text": ({"command": "npx shop"}, 'write command=("npx", "shop",)'),
    "no address": ({"url": "shop.example"}, "begin it with https://"),
    "env of a url": ({"url": "http://b", "env": {"A": "1"}}, "send headers="),
    "headers of a command": ({"command": ("a",), "headers": {"A": "1"}}, "set env="),
    "confirm left out": ({"command": ("a",), "only": ("b",), "confirm": {"c": "d"}}, "add it to only="),
    "prefix": ({"command": ("a",), "prefix": "shop."}, "letters, digits"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_go_together_is_refused(name: str) -> None:
    given, what = WRONG[name]
    with pytest.raises(SettingsError, match=r"^McpServer\(.*\): ") as refused:
        McpServer(**given)
    assert what in str(refused.value)


def test_a_server_is_a_value_and_tells_no_secret() -> None:
    def one() -> McpServer:
        return McpServer(url="https://a:pw@b.example/mcp", headers={"Authorization": "Bearer s3"}, confirm={"x": "y"})

    assert one() == one()
    assert hash(one()) == hash(one())
    assert "s3" not in repr(one())
    assert one().label == "https://b.example/mcp"


async def test_the_staff_takes_them(http: HttpShop) -> None:
    again = McpServer(command=CHILD, only=("get_order",))
    remote = McpServer(url=http.url, only=("get_order", "pid"))
    named = McpServer(url=http.url, only=("get_order",), prefix="far_")
    expert = Specialist(name="orders", instructions="", intents=("order",), tools=(named,))
    assistant = Assistant(tools=(again,), specialists=(expert,))
    async with McpSessions.of(assistant) as found:
        routing = Routing(assistant, found)
        assert [spec.name for spec in routing.general.toolbox.specs] == ["get_order"]
        assert [spec.name for spec in routing.named("orders").toolbox.specs] == ["get_order", "far_get_order"]
        with pytest.raises(SettingsError, match="its tools are not known"):
            Routing(Assistant(tools=(remote,)), found)
    async with McpSessions([again, remote]) as found:
        with pytest.raises(SettingsError, match=r"get_order is there twice; .* a server's by prefix="):
            Routing(Assistant(tools=(again, remote)), found)


async def test_without_servers_the_package_is_not_imported() -> None:
    code = (
        "import asyncio, sys\n"
        "from forebay.workers.assistants.mcp import McpServer\n"
        "from forebay.workers.assistants.mcp.sessions import McpSessions\n"
        "async def work(*sources):\n"
        "    async with McpSessions(sources) as found:\n"
        "        return found\n"
        "assert asyncio.run(work(print)) == {} and 'mcp' not in sys.modules\n"
        "sys.modules['mcp'] = None\n"
        "asyncio.run(work(McpServer(command=('a',))))\n"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    _, said = await child.communicate()
    assert b"SettingsError: McpServer(a) needs more than was installed: pip install 'forebay[mcp]'" in said

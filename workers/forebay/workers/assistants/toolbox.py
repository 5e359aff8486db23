"""The toolbox: runs the tools that a model asks for, within bounds; whatever comes of it becomes words for the model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
import structlog

from forebay.workers import metrics
from forebay.workers.mistakes import MISTAKES, raise_if_ours
from forebay.workers.models import ToolCall, ToolResult, ToolSpec

from .execution import Execution
from .tools import Arguments, Customer, IdempotencyKey, Tool, ToolError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """What the tools of one turn may use, all together."""

    rounds: int = 6
    """Times the model is given results; after that it has to answer with what it knows."""
    calls: int = 8
    """Calls in one round; further ones are refused."""
    seconds: float = 30.0
    """Spent waiting for tools."""
    result_bytes: int = 65_536
    """Of results, as UTF-8; what is beyond is cut, and the model is told so."""


class Allowance:
    """What is left of the limits in one turn."""

    def __init__(self, limits: ToolLimits) -> None:
        self.calls = limits.calls
        self.rounds, self.seconds, self.result_bytes = limits.rounds, limits.seconds, limits.result_bytes

    def cut(self, text: str) -> str:
        """As much of a result as there is room for."""
        value = text.encode(errors="replace")
        room, self.result_bytes = self.result_bytes, max(0, self.result_bytes - len(value))
        if len(value) <= room:
            return value.decode()
        return value[:room].decode(errors="ignore") + f"\n[cut: {len(value):,} bytes in all]"


class Toolbox:
    """The tools of one assistant or specialist, by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self.specs: tuple[ToolSpec, ...] = tuple(tool.spec for tool in self._tools.values())
        """As a model sees them."""

    def find(self, name: str) -> Tool | None:
        """The tool of this name."""
        return self._tools.get(name)

    def only_read(self, calls: Iterable[ToolCall]) -> bool:
        """Whether none of these changes anything, as far as the tools say."""
        return all((tool := self._tools.get(call.name)) is None or tool.read_only for call in calls)

    async def run(
        self,
        calls: Sequence[ToolCall],
        customer: Customer | None,
        left: Allowance,
        known: ToolResult | None = None,
    ) -> tuple[ToolResult, ...]:
        """One round: runs them side by side; one result for each, in their order, whole: `Allowance.cut` is for later, since
        what was cut can no longer be searched for personal data. Never raises for what a tool did.

        ``known`` is the result of one of them that is known already.
        """
        began = time.monotonic()
        results = await asyncio.gather(*(self._result(call, customer, left, known) for call in calls[: left.calls]))
        left.rounds -= 1
        left.seconds -= time.monotonic() - began
        refused = [_refusal(call, f"not more than {left.calls} tools at once") for call in calls[left.calls :]]
        return (*results, *refused)

    async def _result(
        self, call: ToolCall, customer: Customer | None, left: Allowance, known: ToolResult | None
    ) -> ToolResult:
        if known is not None and known.call_id == call.call_id:
            return known
        tool = self._tools.get(call.name)
        if tool is None:
            return _refusal(call, f"there is no tool {call.name}")
        try:
            arguments = tool.check(call.arguments)
        except ToolError as error:
            metrics.TOOL_CALLS.labels(metrics.TOOLS(tool.name), "refused").inc()
            return _refusal(call, str(error))
        if tool.confirm and not (tool.needs_customer and customer is None):
            return _refusal(call, "the customer has to agree to one thing first: ask for this again after it")
        try:
            return await self.perform(tool, call.call_id, arguments, customer, None, left.seconds)
        except TimeoutError:
            return _refusal(call, "no answer in time")

    async def perform(
        self,
        tool: Tool,
        call_id: str,
        arguments: Arguments,
        customer: Customer | None,
        key: IdempotencyKey | None,
        seconds: float,
    ) -> ToolResult:
        """Runs one tool with arguments that were checked. Raises TimeoutError, and nothing else for what it did."""
        with Execution(tool.name, call_id) as execution:
            try:
                if tool.needs_customer and customer is None:
                    raise ToolError("the customer is not signed in: ask them to sign in first")  # noqa: TRY301
                async with asyncio.timeout(max(0.0, seconds)):
                    found = await tool.run(arguments, customer, key)
            except ToolError as error:
                return ToolResult(call_id, f"error: {error}".encode(errors="replace").decode(), failed=True)
            except TimeoutError:
                execution.outcome = "timeout"
                raise
            except (*MISTAKES, GeneratorExit) as error:  # the tool is the user's: what it raises is theirs to read
                raise_if_ours(error)
                log.exception("tool.failed", tool=tool.name)
                return ToolResult(call_id, "error: the tool failed", failed=True)
            else:
                execution.outcome = "ok"
                return ToolResult(call_id, _text(found, tool.name))


def _text(found: object, tool: str) -> str:
    """What a tool returned, as text. It has done its work: that it cannot be shown is no failure of the work."""
    try:
        text = found if isinstance(found, str) else _json(found)
    except MISTAKES:
        log.exception("tool.unreadable", tool=tool)
        return "done; what it returned cannot be shown"
    if len(text) > _MOST:
        return f"done; what it returned has {len(text):,} characters, too many to be shown: ask for less"
    return text.encode(errors="replace").decode()


def _json(found: object) -> str:
    try:
        return orjson.dumps(found, default=str, option=_OPTIONS).decode()
    except orjson.JSONEncodeError:  # whole numbers of more than 64 bits, among others
        return json.dumps(found, default=str, ensure_ascii=False)


_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_DATACLASS
_MOST = 500_000
"""Characters of a result that are searched for personal data at all: about half a second."""


def _refusal(call: ToolCall, why: str) -> ToolResult:
    return ToolResult(call.call_id, f"error: {why}", failed=True)

"""Read the body of `POST /v1/messages`, with the real API's complaints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt, Transcript
from forebay.rehearsal.model_api.answers.offer import Offer

from .error_answer import CallRefused, ErrorAnswer

MIN_CACHED_TOKENS = 1024
"""A shorter prefix is never cached."""


def read_request(body: object) -> CallPrompt:
    """The prompt of a decoded body. Raises Refused with a 400."""
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary")
    _field(body, "model", str, "a valid string")
    max_tokens = _field(body, "max_tokens", int, "a valid integer")
    messages = _field(body, "messages", list, "a valid list")
    if max_tokens < 1:
        raise invalid("max_tokens: Input should be greater than or equal to 1")
    if not messages:
        raise invalid("messages: at least one message is required")
    transcript = Transcript()
    offers = _read_offers(body, transcript)
    _read_system(body.get("system"), transcript)
    _MessageReader(transcript).read(messages)
    if body.get("cache_control"):
        transcript.mark()
    read, write = cached(transcript)
    return transcript.prompt(body, offers, cache_read=read, cache_write=write, max_tokens=max_tokens)


def cached(transcript: Transcript) -> tuple[int, int]:
    """Tokens (read, written) of the cache: what a marker covers, read as far as the call before had sent it."""
    if transcript.marked < MIN_CACHED_TOKENS:
        return 0, 0
    read = min(transcript.marked, transcript.sent_before)
    read = read if read >= MIN_CACHED_TOKENS else 0
    return read, transcript.marked - read


def invalid(message: str) -> CallRefused:
    """A 400 of the real API's type."""
    return CallRefused(ErrorAnswer(400, "invalid_request", "invalid_request_error", message))


def _field(body: dict[str, Any], name: str, kind: type, what: str) -> Any:
    if name not in body:
        raise invalid(f"{name}: Field required")
    if not isinstance(body[name], kind) or isinstance(body[name], bool):
        raise invalid(f"{name}: Input should be {what}")
    return body[name]


def _read_offers(body: dict[str, Any], transcript: Transcript) -> dict[str, Offer]:
    tools = body.get("tools")
    if not isinstance(tools, list) or not tools:
        return {}
    transcript.count(orjson.dumps(tools).decode())
    if any(isinstance(tool, dict) and tool.get("cache_control") for tool in tools):
        transcript.mark()
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "none":
        return {}
    offers = (Offer.read(tool, "input_schema") for tool in tools if isinstance(tool, dict) and "name" in tool)
    return {offer.name: offer for offer in offers}


def _read_system(system: object, transcript: Transcript) -> None:
    if isinstance(system, str):
        transcript.count(system)
    elif isinstance(system, list):
        for block in system:
            if isinstance(block, dict):
                transcript.count(str(block.get("text", "")))
                if block.get("cache_control"):
                    transcript.mark()


@dataclass(slots=True)
class _Blocks:
    """What the content blocks of one message held."""

    texts: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)
    """Ids of tool calls."""
    answers: set[str] = field(default_factory=set)
    """Ids of the calls that results answer."""


class _MessageReader:
    """Walks the messages, checking that tool calls and their results belong together."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._called: set[str] = set()

    def read(self, messages: list[Any]) -> None:
        for index, message in enumerate(messages):
            if not isinstance(message, dict):
                raise invalid(f"messages.{index}: Input should be a valid dictionary")
            role, content = message.get("role"), message.get("content")
            if role not in ("user", "assistant"):
                raise invalid(f"messages.{index}.role: Input should be 'user' or 'assistant'")
            self._transcript.begin_message(role)
            if isinstance(content, str):
                self._text_message(index, role, content)
            elif isinstance(content, list):
                self._block_message(index, role, content)
            else:
                raise invalid(f"messages.{index}.content: Input should be a valid list")

    def _text_message(self, index: int, role: str, text: str) -> None:
        if not text:
            raise invalid(f"messages.{index}: {role} messages must have non-empty content")
        self._transcript.count(text)
        self._turn_over(index, set(), set())
        if role == "user":
            self._transcript.user(text)

    def _block_message(self, index: int, role: str, blocks: list[Any]) -> None:
        if not blocks:
            raise invalid(f"messages.{index}: {role} messages must have non-empty content")
        read = _Blocks()
        for number, block in enumerate(blocks):
            if not isinstance(block, dict):
                raise invalid(f"messages.{index}.content.{number}: Input should be a valid dictionary")
            self._block(f"messages.{index}.content.{number}", block, read)
        self._turn_over(index, read.calls, read.answers)
        if role == "user":
            if read.texts:
                self._transcript.user("\n".join(read.texts))
            for result in read.results:
                self._transcript.tool_result(result)

    def _block(self, where: str, block: dict[str, Any], read: _Blocks) -> None:
        kind = block.get("type")
        if kind == "text":
            read.texts.append(self._text_block(where, block))
        elif kind == "tool_use":
            read.calls.add(str(block.get("id")))
            self._transcript.count(orjson.dumps(block.get("input")).decode())
        elif kind == "tool_result":
            read.answers.add(self._result_id(where, block))
            read.results.append(block_text(block.get("content")))
        if block.get("cache_control"):
            self._transcript.mark()

    def _text_block(self, where: str, block: dict[str, Any]) -> str:
        text = block.get("text")
        if not isinstance(text, str):
            raise invalid(f"{where}.text.text: Field required")
        if not text:
            raise invalid("messages: text content blocks must be non-empty")
        self._transcript.count(text)
        return text

    def _result_id(self, where: str, block: dict[str, Any]) -> str:
        call = str(block.get("tool_use_id"))
        if call not in self._called:
            raise invalid(
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        return call

    def _turn_over(self, index: int, calls: set[str], answers: set[str]) -> None:
        open_calls = sorted(self._called - answers)
        if open_calls:
            raise invalid(
                f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(open_calls)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )
        self._called = calls


def block_text(content: object) -> str:
    """The text of a string or of a list of text blocks."""
    if isinstance(content, list):
        return "\n".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return content if isinstance(content, str) else ""

"""The streams of both vendors, event by event, whole and struck by a fault."""

from typing import Any

import orjson
import pytest

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt
from forebay.rehearsal.model_api.answers.model_answer import ModelAnswer, RequestedTool
from forebay.rehearsal.model_api.faults import Fault, Strike
from forebay.rehearsal.model_api.http.http_message import HttpRequest
from forebay.rehearsal.model_api.http.response_plan import Ending, ResponsePlan, StreamPace, stream_plan, with_event
from forebay.rehearsal.model_api.wire.anthropic_wire import AnthropicWire
from forebay.rehearsal.model_api.wire.openai_wire import OpenAIWire
from forebay.rehearsal.model_api.wire.wire_format import AnswerIdentity, StreamFrames

PROMPT = CallPrompt("m", True, ["hi"], [], frozenset(), tokens=50, cache_read=20, cache_write=10, include_usage=True)
REPLY = ModelAnswer("A reply of some length, with “quotes”\nand lines.", (), tokens=12)
TOOL_REPLY = ModelAnswer(
    "Let me.", (RequestedTool("weather", '{"city":"São Paulo, Brazil"}'), RequestedTool("clock", "{}")), tokens=9
)
REQUEST = HttpRequest("POST", "/v1/messages", "", {}, b"", keep_alive=True, http_1_1=True)
IDENTITY = AnswerIdentity(7, 1_795_222_800)
FRAMES = StreamFrames(b"open|", [b"one|", b"two|", b"three|", b"four|"], b"close|")
PACE = StreamPace(first_s=0.3, gap_s=0.01, silence_s=9.0)


def events(frames: StreamFrames) -> list[tuple[str, Any]]:
    """(event name, data) of each event; `[DONE]` as text."""
    read = []
    for event in b"".join([frames.opening, *frames.deltas, frames.closing]).decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        data = fields["data"]
        read.append((fields.get("event", ""), data if data == "[DONE]" else orjson.loads(data)))
    return read


def test_an_anthropic_stream_has_every_event_in_order() -> None:
    read = events(AnthropicWire().frames(PROMPT, REPLY, IDENTITY))
    names = [name for name, _ in read]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert all(name == data["type"] for name, data in read)
    assert "".join(data["delta"]["text"] for name, data in read if name == "content_block_delta") == REPLY.text


def test_an_anthropic_stream_tells_usage_and_stop_reason() -> None:
    read = dict(events(AnthropicWire().frames(PROMPT, REPLY, IDENTITY)))
    usage = read["message_start"]["message"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (20, 1)
    assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (20, 10)
    assert read["message_delta"]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert read["message_delta"]["usage"]["output_tokens"] == 12


def test_an_anthropic_tool_call_streams_its_json_in_parts() -> None:
    read = events(AnthropicWire().frames(PROMPT, TOOL_REPLY, IDENTITY))
    started = [data["content_block"] for name, data in read if name == "content_block_start"]
    assert [block["type"] for block in started] == ["text", "tool_use", "tool_use"]
    assert started[1]["name"] == "weather"
    deltas = [data for name, data in read if name == "content_block_delta" and data["index"] == 1]
    assert {delta["delta"]["type"] for delta in deltas} == {"input_json_delta"}
    assert "".join(delta["delta"]["partial_json"] for delta in deltas) == TOOL_REPLY.tools[0].arguments
    assert [data["index"] for name, data in read if name == "content_block_stop"] == [0, 1, 2]


def test_an_openai_stream_goes_from_the_role_to_done() -> None:
    read = [data for _, data in events(OpenAIWire().frames(PROMPT, REPLY, IDENTITY))]
    assert read[-1] == "[DONE]"
    chunks = read[:-1]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:-2]) == REPLY.text
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == 50
    assert chunks[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 20


def test_an_openai_tool_call_streams_its_arguments_in_parts() -> None:
    chunks = [data for _, data in events(OpenAIWire().frames(PROMPT, TOOL_REPLY, IDENTITY))][:-1]
    calls = [
        chunk["choices"][0]["delta"]["tool_calls"][0]
        for chunk in chunks
        if "tool_calls" in str(chunk["choices"]) and chunk["choices"][0]["delta"]
    ]
    first = [call for call in calls if call["index"] == 0]
    assert first[0]["function"] == {"name": "weather", "arguments": ""}
    assert "".join(call["function"]["arguments"] for call in first) == TOOL_REPLY.tools[0].arguments
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def shown(plan: ResponsePlan) -> str:
    """What the plan writes, without the framing of chunks."""
    return "".join(part for part in b"".join(data for _, data in plan.steps).decode().split("\r\n") if "|" in part)


def plan_of(kind: Fault | None, after: int | None = None) -> ResponsePlan:
    return stream_plan(REQUEST, b"head|\r\n", FRAMES, PACE, None if kind is None else Strike(kind, after=after))


def test_a_whole_stream_waits_for_the_first_token_and_between_chunks() -> None:
    plan = plan_of(None)
    assert [delay for delay, _ in plan.steps] == [0.3, 0.0, 0.01, 0.01, 0.01, 0.01]
    assert shown(plan) == "head|open|one|two|three|four|close|"
    assert plan.steps[-1][1].endswith(b"0\r\n\r\n")
    assert plan.ending is Ending.KEEP


def test_a_cut_stream_closes_half_way() -> None:
    plan = plan_of(Fault.CUT)
    assert shown(plan) == "head|open|one|two|"
    assert plan.ending is Ending.CLOSE
    assert not plan.steps[-1][1].endswith(b"0\r\n\r\n")


def test_an_early_end_is_clean_but_closes_nothing() -> None:
    plan = plan_of(Fault.EARLY_END)
    assert shown(plan) == "head|open|one|two|"
    assert plan.steps[-1][1] == b"0\r\n\r\n"
    assert plan.ending is Ending.KEEP


@pytest.mark.parametrize(("after", "text"), [(0, ""), (1, "one|"), (99, "one|two|three|four|")])
def test_a_fault_falls_after_the_chunks_asked_for(after: int, text: str) -> None:
    assert shown(plan_of(Fault.CUT, after)) == f"head|open|{text}"


def test_an_error_event_ends_the_stream() -> None:
    plan = with_event(REQUEST, plan_of(Fault.STREAM_ERROR), b"error|", 0.01)
    assert shown(plan) == "head|open|one|two|error|"
    assert plan.steps[-1][1].endswith(b"0\r\n\r\n")


def test_a_slow_first_token_is_silent_after_the_opening() -> None:
    assert [delay for delay, _ in plan_of(Fault.SLOW_FIRST_TOKEN).steps][:3] == [0.3, 9.0, 0.01]


def test_http_1_0_gets_a_stream_without_chunks_until_the_close() -> None:
    old = HttpRequest("POST", "/v1/messages", "", {}, b"", keep_alive=False, http_1_1=False)
    plan = stream_plan(old, b"head|", FRAMES, PACE, None)
    assert b"".join(data for _, data in plan.steps) == b"head|open|one|two|three|four|close|"
    assert plan.ending is Ending.CLOSE

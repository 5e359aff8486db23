"""Replies of the simulated model are functions of the messages received, and can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rehearsal.model_api import Echo, echo_of, parse_reply, reply_text
from forebay.rehearsal.model_api.answers.echo import EARLIER_BUDGET, EARLIER_CHARS, LAST_CHARS
from forebay.rehearsal.model_api.answers.tokens import cut_to, estimate

# The characters that the format itself uses are the ones that could break it.
TEXTS = st.lists(st.one_of(st.text(), st.text(alphabet="|¦“”. \n之前您说过：Earlierto a")), max_size=40)


def test_a_first_turn_quotes_the_text() -> None:
    assert reply_text(["Where is my parcel?"]) == "[turn 1] I understand: “Where is my parcel?”."


def test_later_turns_repeat_the_earlier_texts_in_order() -> None:
    reply = reply_text(["I am Ana", "I live in Porto", "Who am I?"])
    assert reply == "[turn 3] I understand: “Who am I?”. Earlier you told me: I am Ana | I live in Porto"


def test_a_chinese_text_gets_a_chinese_reply() -> None:
    assert reply_text(["我叫小明", "我叫什么？"]) == "[turn 2] 收到：“我叫什么？”。之前您说过：我叫小明"


def test_tool_results_are_echoed() -> None:
    reply = reply_text(["weather?"], ["sunny", "21 C"])
    assert reply == "[turn 1] I understand: “weather?”. The tools answered: “sunny | 21 C”."
    assert "工具返回：“晴”。" in reply_text(["天气？"], ["晴"])


def test_long_texts_are_cut() -> None:
    reply = reply_text(["b" * 100, "a" * 1000])
    assert "a" * LAST_CHARS in reply
    assert "a" * (LAST_CHARS + 1) not in reply
    assert parse_reply(reply).earlier == ["b" * EARLIER_CHARS]


def test_a_long_history_keeps_the_latest_and_still_counts_all() -> None:
    texts = [f"message number {number:04d} xxxxxxxx" for number in range(200)]
    echo = parse_reply(reply_text(texts))
    assert echo.turn == 200
    assert echo.earlier == [text[:EARLIER_CHARS].rstrip() for text in texts[-1 - len(echo.earlier) : -1]]
    assert EARLIER_BUDGET - 2 * EARLIER_CHARS < len(" | ".join(echo.earlier)) <= EARLIER_BUDGET


@given(texts=TEXTS, results=st.lists(st.text(), max_size=3))
def test_a_reply_reads_back_as_what_it_echoes(texts: list[str], results: list[str]) -> None:
    assert parse_reply(reply_text(texts, results)) == echo_of(texts)


def test_the_words_before_a_tool_call_carry_the_turn() -> None:
    assert parse_reply("[turn 4] Let me use weather.") == Echo(4, [])


def test_another_text_is_no_reply() -> None:
    with pytest.raises(ValueError, match="not a reply of the simulated model"):
        parse_reply("Hello")


@given(text=st.text(), tokens=st.integers(0, 50))
def test_a_text_is_cut_to_the_tokens_allowed(text: str, tokens: int) -> None:
    cut = cut_to(text, tokens)
    assert text.startswith(cut)
    assert estimate(cut) <= tokens
    assert cut == text or estimate(text[: len(cut) + 1]) > tokens


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("你好", 2), ("你好 abc", 3)])
def test_tokens_are_estimated_by_script(text: str, tokens: int) -> None:
    assert estimate(text) == tokens

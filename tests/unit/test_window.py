"""The window of a conversation: nothing parted, nothing over the room, and a beginning that seldom moves."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.conversations import Conversation, Exchange
from forebay.workers.conversations.exchange import decode_steps, encode_steps
from forebay.workers.conversations.window import Window, fit, said_with
from forebay.workers.models import Message, ToolCall, ToolResult

PLENTY = 1_000_000


def exchange(number: int, size: int = 10) -> Exchange:
    return Exchange(f"q{number}".ljust(size, "."), f"a{number}")


def conversation(count: int, summarised: int = 0) -> Conversation:
    return Conversation(exchanges=count, summarised=summarised)


def starts_with(window: Window, count: int, summarised: int = 0, room: int = PLENTY) -> int:
    """Number of the first exchange that is shown."""
    history = [exchange(number) for number in range(max(0, count - window.exchanges), count)]
    shown = fit(history, conversation(count, summarised), window, room).messages
    return int(shown[0].text.strip(".")[1:]) if shown else count


def test_it_begins_at_full_blocks_so_that_prefixes_last() -> None:
    window = Window(exchanges=20, block=8)
    begins = [starts_with(window, count) for count in range(60)]
    assert begins[:21] == [0] * 21
    assert sorted(set(begins)) == [0, 8, 16, 24, 32, 40]
    assert all(count - begin <= 20 for count, begin in enumerate(begins))


def test_what_is_summarised_is_not_shown_again() -> None:
    assert starts_with(Window(), 18, summarised=8) == 8
    fitted = fit([exchange(number) for number in range(16)], conversation(16), Window(), PLENTY)
    assert fitted.summarise_to == 8
    fitted = fit([exchange(number) for number in range(16)], conversation(16, summarised=8), Window(), PLENTY)
    assert fitted.summarise_to == 0
    assert fitted.left_out == sum(len(e.said) + len(e.answer) for e in map(exchange, range(8)))


def test_what_does_not_fit_is_summarised_before_its_time() -> None:
    history = [exchange(number, 1_000) for number in range(10)]
    fitted = fit(history, conversation(10), Window(), room=3_500)
    assert [message.text[:2] for message in fitted.messages] == ["q8", "a8", "q9", "a9"]
    assert fitted.summarise_to == 8
    assert fit(history, conversation(10), Window(summarise=False), 3_500).summarise_to == 0


def test_a_summary_covers_no_more_than_was_said() -> None:
    """Though one is due half a block early."""
    window = Window(exchanges=3, block=3)
    assert fit([exchange(0), exchange(1)], conversation(2), window, PLENTY).summarise_to == 2


exchanges = st.builds(
    Exchange,
    st.text(max_size=80),
    st.text(max_size=80),
    st.lists(
        st.builds(
            Message,
            st.just("tool"),
            st.text(max_size=10),
            st.lists(st.builds(ToolCall, st.text(), st.text(), st.text()), max_size=2).map(tuple),
            st.lists(st.builds(ToolResult, st.text(), st.text(max_size=50), st.booleans()), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)


@given(
    st.lists(exchanges, max_size=12),
    st.integers(0, 30),
    st.integers(0, 45),
    st.integers(0, 2_000),
    st.integers(1, 12),
    st.data(),
)
def test_whole_exchanges_within_the_room(
    history: list[Exchange], older: int, summarised: int, room: int, most: int, data: st.DataObject
) -> None:
    history = history[-most:]
    window = Window(exchanges=most, block=data.draw(st.integers(1, most)))
    total = len(history) + older
    if len(history) < min(most, total):
        total = len(history)
    past = conversation(total, min(summarised, total))
    fitted = fit(history, past, window, room)
    messages = list(fitted.messages)
    for kept in reversed(history):
        if not messages:
            break
        expected = list(kept.messages())
        assert messages[-len(expected) :] == expected, "the latest ones, each whole"
        del messages[-len(expected) :]
    assert not messages
    size = sum(
        len(m.text.encode())
        + sum(len(c.name) + len(c.arguments.encode()) for c in m.calls)
        + sum(len(r.text.encode()) for r in m.results)
        for m in fitted.messages
    )
    assert size <= room
    assert fitted.left_out >= 0
    assert fitted.summarise_to == 0 or past.summarised < fitted.summarise_to <= total


@given(st.lists(exchanges, max_size=3))
def test_steps_come_back_as_they_went(given: list[Exchange]) -> None:
    for one in given:
        assert decode_steps(encode_steps(one.steps)) == one.steps


def test_a_summary_stands_before_the_first_word() -> None:
    messages = (Message("user", "And now?"),)
    assert said_with("", messages) == messages
    (told,) = said_with("They want a tent.", messages)
    assert told.text.endswith("And now?")
    assert "They want a tent." in told.text


def test_200_messages_take_less_than_a_millisecond() -> None:
    history = [Exchange("How many of these are left? " * 4, "There are twelve of them. " * 8) for _ in range(100)]
    window, times = Window(exchanges=100, block=10), []
    for _ in range(200):
        began = time.process_time()
        fit(history, conversation(100), window, PLENTY)
        times.append(time.process_time() - began)
    assert sorted(times)[100] < 0.001


@pytest.mark.parametrize("wrong", [{"exchanges": 0}, {"block": 30}, {"share": 0.0}, {"tokens": 0}])
def test_a_window_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Window"):
        Window(**wrong)  # type: ignore[arg-type]


EXCHANGES = st.lists(
    st.builds(
        Exchange,
        said=st.sampled_from(["", "q"]),
        answer=st.sampled_from(["", "a"]),
        steps=st.just(()),
        person=st.sampled_from([None, "", "Anna"]),
    ),
    max_size=30,
)


@given(EXCHANGES, st.integers(0, 2_000))
def test_messages_are_such_as_every_provider_takes(history: list[Exchange], room: int) -> None:
    """The user's and the assistant's by turns, the user's first, none empty: also where persons wrote unasked."""
    messages = fit(history, conversation(len(history)), Window(), room).messages
    assert [message.role for message in messages] == ["user", "assistant"] * (len(messages) // 2)
    assert all(message.text for message in messages)


def test_a_model_is_told_that_a_colleague_wrote() -> None:
    asked, answered = Exchange("", "I am looking into it.", person="Anna").messages()
    assert (asked.role, answered) == ("user", Message("assistant", "I am looking into it."))
    assert "colleague, Anna," in asked.text
    assert "colleague wrote" in Exchange("", "Hello.", person="").messages()[0].text

"""Dispatch: turns that join others, are taken back, interrupt or are refused, against a handler that only waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas import Cancellation, Topics, Turn, WhenBusy, encode
from forebay.workers.engine.cancellations import Cancellations
from forebay.workers.engine.dispatch import Dispatch
from forebay.workers.engine.inbound import InboundRecord, inbound_record
from forebay.workers.engine.ledger import Ledger
from forebay.workers.engine.merging import MOST_CHARACTERS, MOST_TURNS, joins
from forebay.workers.engine.outbox import OutboundRecord, Outbox
from forebay.workers.engine.publication import Publication
from forebay.workers.engine.source import turns_of
from forebay.workers.engine.turn_group import Interrupted, TurnGroup
from forebay.workers.settings import WorkerSettings

RULES: tuple[WhenBusy, ...] = ("enqueue", "merge", "interrupt", "reject")
LEDGER = Ledger(0)


def turn_of(
    number: int,
    lane: str = "c-1",
    user: str | None = "u",
    rule: WhenBusy | None = None,
    text: str = "hi",
    **fields: Any,
) -> InboundRecord:
    turn = Turn(turn_id=f"t-{number}", conversation_id=lane, user_id=user, when_busy=rule, text=text, **fields)
    value = encode(turn, unset=False)
    record = ConsumerRecord("chat.requests", 0, number, number, 0, lane.encode(), value, None, 0, 0, ())
    return inbound_record(record, LEDGER)


@dataclass
class Waiting:
    """A handler whose turns end when it is told; what it asked a model for, and in which groups."""

    when_busy: WhenBusy = "enqueue"
    asked: list[list[str]] = field(default_factory=list)
    under_way: dict[str, asyncio.Future[None]] = field(default_factory=dict)

    def ready(self) -> str | None:
        return None

    def permits(self) -> int:
        return 100

    def drop(self, conversation_id: str) -> None:
        """It holds nothing."""

    async def close(self) -> None:
        """Nothing was begun."""

    async def answer(self, group: TurnGroup) -> Sequence[Publication]:
        while True:
            wanted = [turn for turn in group.turns if not group.cancelled(turn)]
            if group.refused or not wanted:
                return [_published(turn, "refused" if group.refused else "cancelled") for turn in group.turns]
            lane = str(wanted[0].lane)
            done = self.under_way[lane] = asyncio.get_running_loop().create_future()
            try:
                with group.interruptible(wanted):
                    self.asked.append([turn.turn_id for turn in wanted])
                    await done
            except Interrupted:
                group.absorb()
                continue
            finally:
                self.under_way.pop(lane, None)
            return [_published(turn, "answered" if turn in wanted else "cancelled") for turn in group.turns]


def _published(turn: InboundRecord, outcome: str) -> Publication:
    return Publication(f"{turn.turn_id} {outcome}".encode(), None, str(turn.lane), cast(Any, outcome))


@dataclass
class Published:
    """An outbox that Kafka acknowledges at once."""

    waiting: int = 0
    replies: list[tuple[str, str, str]] = field(default_factory=list)
    """Conversation, turn, outcome."""

    def publish(self, records: Sequence[OutboundRecord], acked: Callable[[], None]) -> None:
        for record in records:
            turn_id, outcome = (record.value or b"").decode().split(" ")
            self.replies.append(((record.key or b"").decode(), turn_id, outcome))
        acked()


class Scene:
    """A dispatch with its handler and outbox, and the turns that it was given."""

    def __init__(self, default: WhenBusy = "enqueue", concurrency: int = 2) -> None:
        self.handler, self.outbox = Waiting(default), Published()
        given = WorkerSettings(concurrency=concurrency)
        self.dispatch = Dispatch(given, Topics(), turns_of(Topics()), self.handler, cast(Outbox, self.outbox), "w-1")
        self.turns: list[InboundRecord] = []

    def offer(self, **fields: Any) -> InboundRecord:
        turn = turn_of(len(self.turns), **fields)
        self.turns.append(turn)
        self.dispatch.accept([turn])
        return turn

    def take_back(self, turn: InboundRecord, user: str | None = None) -> None:
        word = Cancellation(conversation_id=str(turn.lane), turn_id=turn.turn_id, user_id=user)
        self.dispatch.take_back(word, 0)

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    async def end(self, lane: str | None = None) -> None:
        """The call under way in a conversation ends; without ``lane`` all do, until none is left."""
        while self.handler.under_way and (lane is None or lane in self.handler.under_way):
            for name in [lane] if lane else list(self.handler.under_way):
                done = self.handler.under_way.pop(name)
                if not done.done():  # else it was broken off in this very moment
                    done.set_result(None)
            await self.settle()
            if lane:
                return

    async def do(self, what: str, *given: Any) -> None:
        """One step of a drawn story."""
        match what, given:
            case "offer", (lane, user, rule):
                self.offer(lane=lane, user=user, rule=rule)
            case "take back", (number,) if number < len(self.turns):
                self.take_back(self.turns[number])
            case "end", (lane,):
                await self.end(lane)
            case "hold", ():
                self.dispatch.hold()
            case "go on", ():
                self.dispatch.after_rebalance(set())
            case "settle", ():
                await self.settle()

    def outcomes(self) -> dict[str, str]:
        return {turn_id: outcome for _, turn_id, outcome in self.outbox.replies}


operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("offer"), st.sampled_from("ab"), st.sampled_from(["u", "v"]), st.sampled_from([None, *RULES])
        ),
        st.tuples(st.just("take back"), st.integers(0, 40)),
        st.tuples(st.just("end"), st.sampled_from("ab")),
        st.tuples(st.just("hold")),
        st.tuples(st.just("go on")),
        st.tuples(st.just("settle")),
    ),
    max_size=40,
)


@given(operations, st.sampled_from(RULES))
@settings(max_examples=150, deadline=None)
def test_every_turn_is_published_once_in_order_and_no_group_breaks_the_rules(
    steps: list[tuple[Any, ...]], default: WhenBusy
) -> None:
    async def tested() -> None:
        scene = Scene(default)
        for step in steps:
            await scene.do(*step)
        scene.dispatch.after_rebalance(set())
        await scene.settle()
        await scene.end()
        dispatch, turns = scene.dispatch, {turn.turn_id: turn for turn in scene.turns}
        assert (dispatch.waiting, dispatch.in_flight, dispatch.holding_permits, dispatch._held_bytes) == (0, 0, 0, 0)
        assert not dispatch._apart
        for lane in "ab":
            published = [turn_id for name, turn_id, _ in scene.outbox.replies if name == lane]
            assert published == [turn.turn_id for turn in scene.turns if turn.lane == lane]
        for asked in scene.handler.asked:
            group = [turns[turn_id] for turn_id in asked]
            assert len({turn.origin for turn in group}) == 1
            assert all((turn.when_busy or default) in ("merge", "interrupt") for turn in group[1:])

    asyncio.run(tested())


async def test_a_waiting_turn_that_is_taken_back_is_asked_of_nobody() -> None:
    scene = Scene()
    scene.offer()
    second = scene.offer()
    await scene.settle()
    scene.take_back(second)
    await scene.end()
    assert scene.handler.asked == [["t-0"]]
    assert scene.outcomes() == {"t-0": "answered", "t-1": "cancelled"}


async def test_it_is_settled_without_a_permit() -> None:
    scene = Scene(concurrency=1)
    scene.offer(lane="a")
    await scene.settle()
    scene.take_back(scene.offer(lane="b"))
    await scene.settle()
    assert scene.outcomes() == {"t-1": "cancelled"}
    await scene.end()


async def test_a_cancellation_by_another_user_changes_nothing() -> None:
    scene = Scene()
    turn = scene.offer()
    await scene.settle()
    scene.take_back(turn, user="v")
    await scene.end()
    assert scene.outcomes() == {"t-0": "answered"}


async def test_those_that_wait_for_a_permit_join_the_first() -> None:
    scene = Scene(concurrency=1)
    scene.offer(lane="a")
    await scene.settle()
    for rule in (None, "merge", "merge"):
        scene.offer(lane="b", rule=rule)
    await scene.end("a")
    await scene.end()
    assert scene.handler.asked == [["t-0"], ["t-1", "t-2", "t-3"]]


async def test_an_interrupt_reaches_what_runs_only_past_turns_that_join_too() -> None:
    scene = Scene()
    scene.offer()
    await scene.settle()
    scene.offer(rule="enqueue")
    scene.offer(rule="interrupt")
    await scene.settle()
    await scene.end()
    assert scene.handler.asked == [["t-0"], ["t-1"], ["t-2"]]
    scene.offer()
    await scene.settle()
    scene.offer(rule="merge")
    scene.offer(rule="interrupt")
    await scene.settle()
    await scene.end()
    assert scene.handler.asked[3:] == [["t-3"], ["t-3", "t-4", "t-5"]]


@given(st.lists(st.tuples(st.integers(1, 9_000), st.sampled_from(["u", "v"]), st.booleans()), min_size=1, max_size=14))
def test_a_group_is_bounded(sizes: list[tuple[int, str, bool]]) -> None:
    group: list[InboundRecord] = []
    for number, (characters, user, word) in enumerate(sizes):
        confirm: dict[str, Any] = {"confirm": {"action_id": "a", "accept": True}} if word else {}
        turn = turn_of(number, user=user, text="x" * characters, **confirm)
        if not group or joins(group, turn, "merge"):
            group.append(turn)
    assert len(group) <= MOST_TURNS
    assert len("\n".join(turn.decode().text for turn in group)) <= MOST_CHARACTERS
    assert len(group) == 1 or (len({turn.origin.user for turn in group}) == 1 and all(t.characters for t in group))


def test_a_replayed_turn_is_not_taken_back_by_what_was_said_of_the_one_before() -> None:
    known = Cancellations()
    replay = ConsumerRecord("chat.requests", 0, 1, 5_000, 0, b"c-1", b"", None, 0, 0, (("replay.of", b"dlq-0-1"),))
    turn = turn_of(1)
    value = turn.value
    again = inbound_record(
        ConsumerRecord(replay.topic, 0, 1, 5_000, 0, b"c-1", value, None, 0, 0, replay.headers), LEDGER
    )
    known.add(Cancellation(conversation_id="c-1", turn_id="t-1"), 4_000)
    assert known.cover(turn)
    assert not known.cover(again)
    known.add(Cancellation(conversation_id="c-1", turn_id="t-1"), 6_000)
    assert known.cover(again)


def test_the_oldest_cancellations_are_forgotten_first() -> None:
    known = Cancellations(most=2)
    for number in range(3):
        known.add(Cancellation(conversation_id="c-1", turn_id=f"t-{number}"), number)
    assert [known.cover(turn_of(number)) for number in range(3)] == [False, True, True]

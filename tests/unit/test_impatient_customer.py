"""An impatient customer at a door, the plain service, and what a rehearsal counts of both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from forebay.operations.planning.patience import Wait
from forebay.rehearsal.customers import Visit
from forebay.rehearsal.sale.comparison import CROWD, variants
from forebay.rehearsal.sale.figures import SaleFigures
from forebay.rehearsal.sale.impatient_customer import ImpatientCustomer, Question
from forebay.rehearsal.sale.plain_service import serve_plainly
from forebay.rehearsal.sale.result import SaleResult, beside_plain
from forebay.rehearsal.sale.scenario_file import read_scenario

VISIT = Visit(0.0, "c-1", "u-1", ("Is SKU001 in stock?",))
LONG_S = 60.0


class FakeDoor:
    """Notes what customers do, and does with each question what it is told."""

    def __init__(self, meet: Callable[[int, asyncio.Future[bool]], None] = lambda _number, _asked: None) -> None:
        self.seen: list[str] = []
        self._meet = meet

    def ask(self, visit: Visit, text: str) -> asyncio.Future[bool]:
        self.seen.append(text)
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._meet(len(self.seen), asked)
        return asked

    def reload(self, visit: Visit, text: str, asked: Sequence[asyncio.Future[bool]]) -> Sequence[asyncio.Future[bool]]:
        self.seen.append("reload")
        return [self.ask(visit, text)]

    def take_back(self, visit: Visit) -> None:
        self.seen.append("take back")


async def ask(door: FakeDoor, wait: Wait) -> Question:
    return await ImpatientCustomer(door, VISIT, wait).ask(VISIT.said[0])


async def test_who_is_answered_stays_and_does_nothing_more() -> None:
    door = FakeDoor(lambda _, asked: asked.set_result(True))
    question = await ask(door, Wait(LONG_S, tells=True, again_after_s=(LONG_S / 2,), reloads_after_s=LONG_S / 3))
    assert question.answered_at is not None
    assert door.seen == [*VISIT.said]


async def test_who_leaves_has_written_again_and_takes_all_back() -> None:
    door = FakeDoor()
    question = await ask(door, Wait(0.03, tells=True, again_after_s=(0.01, 0.02)))
    assert question.answered_at is None
    assert door.seen == [*VISIT.said, "hello??", "hello??", "take back"]


async def test_who_goes_away_untold_takes_nothing_back() -> None:
    door = FakeDoor()
    assert (await ask(door, Wait(0.01, tells=False))).answered_at is None
    assert door.seen == [*VISIT.said]


async def test_a_refusal_is_no_answer_and_the_second_try_may_be_one() -> None:
    door = FakeDoor(lambda number, asked: asked.set_result(number > 1))
    question = await ask(door, Wait(LONG_S, tells=True, again_after_s=(0.01,)))
    assert question.answered_at is not None
    assert door.seen == [*VISIT.said, "hello??"]


async def test_who_is_refused_for_good_is_not_waited_for() -> None:
    door = FakeDoor(lambda _, asked: asked.set_result(False))
    async with asyncio.timeout(LONG_S / 2):
        assert (await ask(door, Wait(LONG_S, tells=True))).answered_at is None


async def test_a_page_that_is_loaded_anew_waits_for_what_its_door_says() -> None:
    door = FakeDoor(lambda number, asked: asked.set_result(True) if number > 1 else None)
    assert (await ask(door, Wait(LONG_S, tells=True, reloads_after_s=0.01))).answered_at is not None
    assert door.seen == [*VISIT.said, "reload", *VISIT.said]


async def test_a_plain_service_answers_what_fits_and_tells_the_others_an_error() -> None:
    scenario = read_scenario(
        None,
        CROWD,
        service="plain",
        traffic__peak=40,
        traffic__holds=1,
        models__max_in_flight=2,
        models__latency={"p50": 0.3, "p99": 0.4},
        customers__patience={"median": 3, "spread": 0, "write_again": 0},
    )
    seen = []
    outcome = await serve_plainly(scenario, lambda service: seen.append(service.moment()))
    table = SaleResult(SaleFigures(outcome)).table()
    assert seen
    assert table["customers"] == table["total"] == len(outcome.answers) > 20
    assert 0 < (table["in_time"] or 0) < (table["customers"] or 0)
    assert table["in_time"] == table["succeeded"] == table["model_calls_taken"]
    assert table["calls_an_answer"] == 1.0
    assert table["failed"] == (table["total"] or 0) - (table["succeeded"] or 0) > 0
    assert table["lost"] == 0


def test_impatience_is_compared_with_a_plain_service_and_with_a_queue_that_hears_nothing() -> None:
    plain, untold, told = [scenario for _, scenario in variants(read_scenario(None, CROWD), "impatience", "large")]
    assert (plain.service, untold.service, told.service) == ("plain", "forebay", "forebay")
    assert plain.model_copy(update={"service": "forebay"}) == untold
    assert untold.customers.patience is not None
    assert told.customers.patience is not None
    assert (untold.customers.patience.tell, untold.customers.when_busy) == (0.0, "enqueue")
    assert (told.customers.patience.tell, told.customers.when_busy) == (1.0, "merge")
    (visit, *_), (other, *_) = (list(each.visitors().visits(each.traffic.traffic())) for each in (plain, told))
    assert visit._replace(wait=None) == other._replace(wait=None), "the same customers"
    assert visit.wait is not None
    assert other.wait is not None
    assert visit.wait._replace(tells=True) == other.wait


async def test_a_run_beside_a_plain_service_says_how_many_times_as_many_it_answered() -> None:
    scenario = read_scenario(
        None, CROWD, service="plain", traffic__peak=20, traffic__holds=0.5, models__latency={"p50": 0.01, "p99": 0.01}
    )
    outcome = await serve_plainly(scenario, lambda _: None, variant="plain service")
    plain = SaleResult(SaleFigures(outcome))
    assert outcome.questions is not None
    some = outcome.questions[: len(outcome.questions) // 2]
    queued = replace(outcome, scenario=scenario.model_copy(update={"service": "forebay"}), questions=some)
    half = SaleFigures(queued)
    beside, run = beside_plain([plain, SaleResult(half)])
    assert beside.table()["in_time_of_plain"] is None
    assert abs((run.table()["in_time_of_plain"] or 0) - 0.5) < 0.1

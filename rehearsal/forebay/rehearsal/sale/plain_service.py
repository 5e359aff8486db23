"""The plain service: each turn is a call of the SDK with its retries, as services without a queue have it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any

import anthropic
from anthropic.types import MessageParam

from forebay.operations.planning.traffic import Traffic
from forebay.rehearsal.customers import Visit
from forebay.rehearsal.delivery_check import Answer, Verdict
from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Usage
from forebay.workers.models.catalogue import Catalogue

from .impatient_customer import ImpatientCustomer, Question, since
from .observations import Happening, Observations, SaleSample
from .scenario import Scenario
from .screen import SaleState
from .setting import api_settings
from .waiting_curve import Capacity

_MODEL = "claude-haiku-4-5"
_TIMEOUT_S = 60.0
_SAMPLE_S = 0.25


async def serve_plainly(
    scenario: Scenario, watch: Callable[[PlainService], None], *, variant: str = ""
) -> Observations:
    """The scenario's customers before a plain service, from the first question to the last answer."""
    traffic = scenario.traffic.traffic().faster(scenario.speed)
    visits = tuple(scenario.visitors().visits(traffic))
    async with ModelApi(api_settings(scenario.models)) as api:
        client = anthropic.AsyncAnthropic(
            api_key="simulated", base_url=api.url, timeout=_TIMEOUT_S, http_client=anthropic.DefaultAioHttpClient()
        )
        async with client:
            service = PlainService(scenario, traffic, api, client)
            await service.hold(visits, watch)
            return service.outcome(variant)


class PlainService:
    """One that is asked by all customers of a scenario."""

    def __init__(self, scenario: Scenario, traffic: Traffic, api: ModelApi, client: anthropic.AsyncAnthropic) -> None:
        self.scenario, self.traffic = scenario, traffic
        self.happenings: list[Happening] = []
        self._api, self._client = api, client
        self._model = scenario.workers.model or _MODEL
        self._prices = Catalogue.load().find(self._model)[1]
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._began = 0.0
        self._questions: list[Question] = []
        self._sent_at: dict[str, float] = {}
        self._answers: list[Answer] = []
        self._late_s: list[float] = []
        self._samples: list[SaleSample] = []

    async def hold(self, visits: Sequence[Visit], watch: Callable[[PlainService], None]) -> None:
        """Returns when every customer is served or has left."""
        self._began = time.monotonic()
        coming = asyncio.create_task(self._come(visits), name="plain.customers")
        while not coming.done() or self._tasks:
            self._sample()
            watch(self)
            await asyncio.sleep(_SAMPLE_S)
        await coming
        self._sample()

    def ask(self, visit: Visit, text: str) -> asyncio.Future[bool]:
        """A call at once; the SDK retries what is refused, and what it gives up is an error for the customer."""
        return self._run(self._call(text))

    def reload(self, visit: Visit, text: str, asked: Sequence[asyncio.Future[bool]]) -> Sequence[asyncio.Future[bool]]:
        """The page lost its answer: it asks anew."""
        return [self.ask(visit, text)]

    def take_back(self, visit: Visit) -> None:
        """A call that is under way goes on; nothing waits."""

    def outcome(self, variant: str) -> Observations:
        """All that was seen. What was given up is ``failed``: the customer saw an error."""
        answered = sum(answer.succeeded for answer in self._answers)
        stats, sent = self._api.stats(), len(self._sent_at)
        verdict = Verdict(sent, answered, sent - answered, lost=0, out_of_order=0, duplicates=0, repeats=0, forgotten=0)
        return Observations(
            scenario=self.scenario,
            traffic=self.traffic,
            sent_at=dict(self._sent_at),
            answers=tuple(self._answers),
            verdict=verdict,
            samples=tuple(self._samples),
            capacity=(Capacity(0.0, self.scenario.models.max_in_flight or sent),),
            happenings=tuple(self.happenings),
            first_words_s={},
            routes=dict(Counter(answer.outcome for answer in self._answers)),
            late_s=tuple(self._late_s),
            start_s=0.0,
            bad_ends=(),
            calls=stats.begun,
            taken=stats.accepted,
            questions=since(self._questions, self._began) if self.scenario.customers.patience else None,
            variant=variant,
        )

    def moment(self) -> SaleState:
        """What the live view shows."""
        return SaleState.of(self._samples, self._answers, self.traffic, self.scenario.models.max_in_flight or 0)

    async def _come(self, visits: Sequence[Visit]) -> None:
        for visit in visits:
            at = self._began + visit.at
            await asyncio.sleep(at - time.monotonic())
            self._late_s.append(max(0.0, time.monotonic() - at))
            self._run(self._stay(visit))

    async def _stay(self, visit: Visit) -> bool:
        customer = None if visit.wait is None else ImpatientCustomer(self, visit, visit.wait)
        for text, pause_s in zip(visit.said, (0.0, *visit.pauses_s), strict=True):
            await asyncio.sleep(pause_s)
            if customer is None:
                await self.ask(visit, text)
                continue
            question = await customer.ask(text)
            self._questions.append(question)
            if question.answered_at is None:
                return False
        return True

    def _run(self, coroutine: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        self._tasks.add(task := asyncio.create_task(coroutine))
        task.add_done_callback(self._tasks.discard)
        return task

    async def _call(self, text: str) -> bool:
        turn_id, sent_at, usage = f"plain-{next(self._numbers)}", time.monotonic() - self._began, Usage()
        self._sent_at[turn_id] = sent_at
        said: MessageParam = {"role": "user", "content": text}
        try:
            message = await self._client.messages.create(model=self._model, max_tokens=400, messages=[said])
        except anthropic.APIError:
            outcome, model = "failed", None
        else:
            outcome, model = "answered", self._model
            usage = Usage(input_tokens=message.usage.input_tokens, output_tokens=message.usage.output_tokens)
        ended_at = time.monotonic() - self._began
        cost = self._prices.cost_usd(usage) or 0.0
        self._answers.append(
            Answer(turn_id, sent_at, sent_at, ended_at, ended_at - sent_at, outcome, model, None, usage, cost, 1)
        )
        return outcome == "answered"

    def _sample(self) -> None:
        stats, now = self._api.stats(), time.monotonic() - self._began
        failed = stats.begun - stats.in_flight - stats.outcome("ok")
        self._samples.append(SaleSample(now, stats.in_flight, 0, 1, 1, failed, len(self._sent_at), len(self._answers)))

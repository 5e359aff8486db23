"""The demo: a sale in one command, on this machine, with everything real but the models.

A real Kafka, two worker processes, a simulated model API, customers that talk like customers. The sale opens, traffic
rises 40 times, one worker is killed, and at the end everything is counted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import orjson
import uvloop
from aiokafka import ConsumerRecord
from rich.console import Console
from rich.live import Live

from producers import ChatClient, TopicSettings, apply_topics, new_turn
from producers.feed import Feed
from schemas import Cluster, Confirm, Reply, Turn, decode_reply

from .child import taken
from .demo_screen import Moment, screen, staying, summary
from .fleet import FleetError, GatewayProcess, WorkerProcess
from .kafka import EmbeddedKafka
from .model_api import ModelApi, ModelApiSettings, parse_reply
from .spike import Spike
from .tally import Tally, percentile, remembered

_GATEWAY_PORT = 8080
_KILL_AT_S = 11.0
_PATIENCE_S = 55.0
"""After the spike began; what is missing then is counted as lost."""
_REAL_SPIKE = Spike(calm=1.0, peak=4.0, conversations=20)
"""With a real key the demo shows the same in small: about 60 turns, for cents."""


class DemoError(Exception):
    """The demo cannot run; the message says why and what to do."""


def run_demo(*, real: bool, as_json: bool, stay: bool = False) -> bool:
    """Runs the demo to its end; returns whether every promise was kept. Raises DemoError.

    With ``stay`` all of it runs on after the report, with a gateway, until SIGINT or SIGTERM.
    """
    key = next((name for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY") if os.environ.get(name)), None)
    if real and key is None:
        raise DemoError("--real needs ANTHROPIC_API_KEY or OPENAI_API_KEY")
    console = Console(stderr=as_json)
    folder = Path(tempfile.mkdtemp(prefix="spillway-demo-"))
    try:
        status = console.status("starting Apache Kafka")
        with status, EmbeddedKafka.running(progress=status.update) as kafka:
            return uvloop.run(_Demo(kafka, folder, console, key if real else None, as_json).run(status.stop, stay))
    except FleetError as error:
        raise DemoError(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    def __init__(self, kafka: EmbeddedKafka, folder: Path, console: Console, key: str | None, as_json: bool) -> None:
        self._cluster = Cluster(kafka=kafka.bootstrap_servers)
        self._folder = folder
        self._console = console
        self._key = key
        self._as_json = as_json
        self._tally = Tally()
        self._spike = _REAL_SPIKE if key else Spike()
        self._sending: set[asyncio.Task[None]] = set()
        self._users: dict[str, str | None] = {}
        self._heard: set[str] = set()
        self._exchanges, self._routes = Counter[str](), Counter[str]()
        self._began = 0.0
        self._events: list[tuple[float, str]] = []
        self._timeline: list[tuple[float, int, int]] = []

    async def run(self, ready: Callable[[], None], stay: bool) -> bool:
        await apply_topics(self._cluster, TopicSettings())
        async with AsyncExitStack() as stack:
            api = None if self._key else await stack.enter_async_context(ModelApi(ModelApiSettings()))
            workers = [stack.enter_context(closing(worker)) for worker in self._workers(api)]
            chat = await stack.enter_async_context(ChatClient(self._cluster))
            feed = Feed(self._cluster, self._cluster.topics.replies, partial(self._read, chat))
            await feed.start()
            stack.push_async_callback(feed.stop)
            await asyncio.gather(*(worker.ready() for worker in workers))
            ready()
            await self._sale(chat, api, workers)
            kept = self._report()
            if stay:
                await self._stay(api, stack)
        return kept

    async def _stay(self, api: ModelApi | None, stack: AsyncExitStack) -> None:
        """A worker in place of the one that was killed, a gateway, and both addresses; until it is interrupted."""
        environment = self._environment(api)
        worker = WorkerProcess("worker-3", self._folder, environment)
        stack.enter_context(closing(worker))
        port = 0 if taken(_GATEWAY_PORT) else _GATEWAY_PORT
        customer = {"SPILLWAY_GATEWAY_OPEN_USER": "u-1"}  # who has the orders 1001 and 1021
        gateway = GatewayProcess("gateway", self._folder, environment | customer, port)
        stack.enter_context(closing(gateway))
        await asyncio.gather(worker.ready(), gateway.ready())
        self._console.print(staying(gateway.url, self._cluster.kafka))
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        for wish in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(wish, ended.set)
        await ended.wait()

    def _workers(self, api: ModelApi | None) -> list[WorkerProcess]:
        environment = self._environment(api)
        return [WorkerProcess(f"worker-{number}", self._folder, environment) for number in (1, 2)]

    def _environment(self, api: ModelApi | None) -> dict[str, str]:
        environment = {
            "SPILLWAY_KAFKA": self._cluster.kafka,
            "SPILLWAY_STORE": f"sqlite:///{self._folder / 'conversations.db'}",
            "SPILLWAY_ASSISTANT": "examples.shop.assistant:assistant",
            "SHOP_DATABASE": str(self._folder / "shop.db"),
        }
        if api is not None:
            environment |= {"ANTHROPIC_API_KEY": "simulated", "ANTHROPIC_BASE_URL": api.url}
        elif self._key == "OPENAI_API_KEY":  # the shop's models are Anthropic's
            model = os.environ.get("SPILLWAY_MODEL", "gpt-6-luna")
            environment |= {"SPILLWAY_MODEL": model, "SPILLWAY_ASSISTANT": ""}
        return environment

    async def _sale(self, chat: ChatClient, api: ModelApi | None, workers: list[WorkerProcess]) -> None:
        self._began = time.monotonic()
        customers = asyncio.create_task(self._customers(chat))
        killing = asyncio.create_task(self._kill(workers[0]))
        with Live(console=self._console, refresh_per_second=8, transient=True) as live:
            while (now := time.monotonic() - self._began) < _PATIENCE_S:
                self._timeline.append((now, self._tally.sent, self._tally.replied))
                live.update(screen(self._moment(now, api, workers), self._events))
                if customers.done() and killing.done() and self._tally.replied == self._tally.sent:
                    break
                await asyncio.sleep(0.125)
        for task in (customers, killing):
            await task

    async def _customers(self, chat: ChatClient) -> None:
        """Sends each turn at its moment, whether or not anybody keeps up: that is what customers do."""
        for offered in self._spike.turns():
            await asyncio.sleep(max(0.0, self._began + offered.at - time.monotonic()))
            turn = new_turn(offered.text, conversation_id=offered.conversation_id, user_id=offered.user_id)
            self._send(chat, turn)
        await asyncio.gather(*self._sending)

    def _send(self, chat: ChatClient, turn: Turn) -> None:
        self._users[turn.conversation_id] = turn.user_id
        self._tally.turn_sent(turn.conversation_id, turn.turn_id, time.monotonic())
        self._sending.add(task := asyncio.create_task(chat.send(turn)))
        task.add_done_callback(self._sending.discard)

    async def _kill(self, worker: WorkerProcess) -> None:
        await asyncio.sleep(max(0.0, self._began + _KILL_AT_S - time.monotonic()))
        worker.kill()
        self._events.append(
            (time.monotonic() - self._began, f"{worker.name} (pid {worker.pid}) was killed with SIGKILL")
        )

    def _read(self, chat: ChatClient, record: ConsumerRecord) -> None:
        reply = decode_reply(record.value)
        if reply.turn_id in self._heard:
            return self._tally.reply_read(reply, record.value, time.monotonic())
        self._heard.add(reply.turn_id)
        self._tally.reply_read(reply, record.value, time.monotonic(), self._key is not None or self._remembered(reply))
        self._routes[reply.outcome if reply.route is None else reply.route] += 1
        if reply.outcome in ("answered", "confirmation_required"):
            self._exchanges[reply.conversation_id] += 1
        if reply.action is not None:  # the customer agrees
            word, user = Confirm(action_id=reply.action.action_id, accept=True), self._users[reply.conversation_id]
            self._send(chat, new_turn("", conversation_id=reply.conversation_id, user_id=user, confirm=word))
        return None

    def _remembered(self, reply: Reply) -> bool:
        """The simulated model tells how many turns it was shown."""
        if reply.model is None or reply.outcome != "answered":
            return True
        return remembered(parse_reply(reply.text).turn, self._exchanges[reply.conversation_id])

    def _moment(self, now: float, api: ModelApi | None, workers: list[WorkerProcess]) -> Moment:
        tally, recent = self._tally, [sample for sample in self._timeline if sample[0] >= now - 1.0]
        first = recent[0] if recent else (now - 1.0, tally.sent, tally.replied)
        span = max(0.1, now - first[0])
        in_flight = api.stats().in_flight if api is not None else 0
        latest = tally.latencies_ms[-400:]
        return Moment(
            seconds=now,
            offered=(tally.sent - first[1]) / span,
            answered=(tally.replied - first[2]) / span,
            waiting=max(0, tally.sent - tally.replied - in_flight),
            in_flight=in_flight,
            sent=tally.sent,
            replied=tally.replied,
            p50_ms=percentile(latest, 0.5),
            p99_ms=percentile(latest, 0.99),
            cost_usd=tally.cost_usd,
            workers=tuple((worker.name, worker.running) for worker in workers),
        )

    def _report(self) -> bool:
        verdict = self._tally.verdict()
        if self._as_json:
            latency = {
                name: {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99)}
                for name, values in (("waiting_ms", self._tally.waited_ms), ("model_ms", self._tally.model_ms))
            }
            document = {
                **asdict(verdict),
                **latency,
                "cost_usd": round(self._tally.cost_usd, 6),
                "routes": dict(self._routes.most_common()),
                "kept": verdict.kept,
            }
            print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())  # noqa: T201 - its output
        else:
            self._console.print(summary(verdict, self._tally, self._events, self._routes))
        return verdict.kept

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
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import asdict
from pathlib import Path

import orjson
import uvloop
from rich.console import Console
from rich.live import Live

from forebay.producers import TopicSettings, apply_topics
from forebay.rehearsal.sale.sale_run import Sale
from forebay.schemas import Cluster
from forebay.telemetry.percentile import percentile

from .chaos.schedule import EventKind
from .demo_screen import staying, summary, times
from .model_api import ModelApi, ModelApiSettings
from .sale.scenario import CustomersPart, FaultPart, ModelsPart, Scenario, TrafficPart, WorkersPart
from .sale.screen import screen
from .servers.child_process import taken
from .servers.kafka import EmbeddedKafka
from .worker_processes import FleetError, GatewayProcess

_GATEWAY_PORT = 8080
_SALE = Scenario(
    speed=1.0,
    traffic=TrafficPart(opens=3.0, climbs=5.0, holds=12.0, falls=0.0, rests=0.0),
    customers=CustomersPart(conversations=200),
    workers=WorkersPart(least=2, most=2, assistant="forebay.rehearsal.shop.assistant:assistant"),
    faults=(FaultPart(what=EventKind.SIGKILL, at=11.0),),
)


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
    folder = Path(tempfile.mkdtemp(prefix="forebay-demo-"))
    try:
        status = console.status("starting Apache Kafka")
        with status, EmbeddedKafka.running(progress=status.update) as kafka:
            demo = _Demo(kafka, folder, console, _real(key) if real and key else _SALE, as_json)
            return uvloop.run(demo.run(status.stop, stay))
    except FleetError as error:
        raise DemoError(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _real(key: str) -> Scenario:
    """With a real key the demo shows the same in small: about 60 turns, for cents."""
    workers = _SALE.workers
    if key == "OPENAI_API_KEY":  # the shop's models are Anthropic's
        model = os.environ.get("FOREBAY_MODEL", "gpt-6-luna")
        workers = workers.model_copy(update={"model": model, "assistant": ""})
    return _SALE.model_copy(
        update={
            "traffic": _SALE.traffic.model_copy(update={"calm": 1.0, "peak": 4.0}),
            "customers": CustomersPart(conversations=20),
            "models": ModelsPart(real=True),
            "workers": workers,
        }
    )


class _Demo:
    def __init__(self, kafka: EmbeddedKafka, folder: Path, console: Console, scenario: Scenario, as_json: bool) -> None:
        self._kafka = kafka
        self._cluster = Cluster(kafka=kafka.bootstrap_servers)
        self._folder = folder
        self._console = console
        self._scenario = scenario
        self._as_json = as_json

    async def run(self, ready: Callable[[], None], stay: bool) -> bool:
        await apply_topics(self._cluster, TopicSettings())
        traffic = self._scenario.traffic.traffic()
        visits = tuple(self._scenario.visitors().visits(traffic))
        async with AsyncExitStack() as stack:
            real = self._scenario.models.real
            api = None if real else await stack.enter_async_context(ModelApi(ModelApiSettings()))
            sale = Sale(self._scenario, self._cluster, self._folder, self._kafka, api, traffic, "forebay-workers")
            await stack.enter_async_context(sale)
            await sale.fleet.start(self._scenario.workers.least)
            ready()
            with Live(console=self._console, refresh_per_second=8, transient=True) as live:
                await sale.hold(visits, lambda sale: live.update(screen(sale.moment(), sale.happenings)))
            kept = self._report(sale)
            if stay:
                await self._stay(sale, stack)
        return kept

    async def _stay(self, sale: Sale, stack: AsyncExitStack) -> None:
        """The workers, one in place of the one that was killed, a gateway, and its addresses; until it is interrupted."""
        port = 0 if taken(_GATEWAY_PORT) else _GATEWAY_PORT
        customer = {"FOREBAY_GATEWAY_OPEN_USER": "u-1"}  # who has the orders 1001 and 1021
        gateway = GatewayProcess("gateway", self._folder, sale.environment | customer, port)
        stack.enter_context(closing(gateway))
        await gateway.ready()
        self._console.print(staying(gateway.url, self._cluster.kafka))
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        for wish in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(wish, ended.set)
        await ended.wait()

    def _report(self, sale: Sale) -> bool:
        check, routes = sale.check, sale.load.routes
        verdict = check.verdict()
        if self._as_json:
            found = times(check.answers)
            document = {
                **asdict(verdict),
                "waiting_ms": _both_ms(found["waited"]),
                "model_ms": _both_ms(found["in the model"]),
                "cost_usd": round(check.cost_usd, 6),
                "routes": dict(routes.most_common()),
                "kept": verdict.kept,
            }
            print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())  # noqa: T201 - its output
        else:
            self._console.print(summary(verdict, check, sale.happenings, routes))
        return verdict.kept


def _both_ms(values_s: list[float]) -> dict[str, float]:
    known = values_s or [0.0]
    return {"p50": percentile(known, 0.5) * 1000, "p99": percentile(known, 0.99) * 1000}

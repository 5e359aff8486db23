"""The command line. Each command reads its settings, calls one function, and says in one line what went wrong."""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from .assistant import assistant
from .command import CommandFailed, Json, fail, print_json, run
from .dlq import dlq
from .handoffs import handoffs
from .token import token

app = typer.Typer(
    name="spillway",
    help="Peak-load buffering for LLM chat on Kafka: nothing lost, doubled or reordered.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
topics = typer.Typer(help="The Kafka topics.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(topics, name="topics")
app.add_typer(assistant, name="assistant")
app.add_typer(handoffs, name="handoffs")
app.add_typer(dlq, name="dlq")
app.add_typer(token, name="token")


def main() -> NoReturn:
    """Runs the command line. Exit status: 0 done, 1 failed, 2 wrong use or settings, 130 interrupted."""
    from aiokafka.errors import KafkaError
    from dotenv import load_dotenv

    from schemas import ClusterError, SettingsError

    try:
        load_dotenv(Path(".env"))
    except UnicodeDecodeError as error:
        fail(SettingsError(f".env is not UTF-8: {error}"), 2)
    # aiokafka logs every retry of every connection; what a person must know, the commands say themselves.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app(standalone_mode=True)
    except SettingsError as error:
        fail(error, 2)
    except (ClusterError, KafkaError, OSError, CommandFailed) as error:
        fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


@app.command()
def demo(
    real: Annotated[bool, typer.Option("--real", help="Call the real API whose key is set. This costs money.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Let it run on, with the chat page and the console.")] = False,
    json: Json = False,
) -> None:
    """A sale on this machine: real Kafka, simulated models, two workers, a 40x spike, one worker killed, a report."""
    from rehearsal.demo import DemoError, run_demo
    from rehearsal.kafka import EmbeddedKafkaError

    for wish in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(wish, lambda *_: signal.raise_signal(signal.SIGINT))  # it cleans up, as after Ctrl-C
    try:
        passed = run_demo(real=real, as_json=json, stay=stay)
    except (DemoError, EmbeddedKafkaError) as error:
        raise CommandFailed(str(error)) from error
    if not passed:
        raise typer.Exit(1)


@app.command()
def broker(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 takes a free one.")] = 9092,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps the topics.")] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing when it ends.")] = False,
) -> None:
    """A real one-node Apache Kafka on this machine, until interrupted. Nothing to install."""
    from rehearsal.kafka import EmbeddedKafka, EmbeddedKafkaError

    if ephemeral and data is not None:
        raise typer.BadParameter("give --data or --ephemeral, not both")
    folder = None if ephemeral else (data or Path(".spillway") / "kafka").absolute()
    kafka = EmbeddedKafka(data=folder, port=port, progress=lambda said: typer.echo(said, err=True))
    ended = threading.Event()
    for wish in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wish, lambda *_: ended.set())
    try:
        kafka.start()
        typer.echo(f"Kafka at {kafka.bootstrap_servers}, data in {folder or 'memory of this run'} (Ctrl-C ends it)")
        while not ended.wait(0.5):
            if (reason := kafka.exited()) is not None:
                raise CommandFailed(f"Kafka ended by itself: {reason}")
    except EmbeddedKafkaError as error:
        raise CommandFailed(str(error)) from error
    finally:
        kafka.stop()


@app.command("model-api")
def model_api(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Whoever reaches it may also break it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8089,
    latency_ms: Annotated[float, typer.Option(min=0, help="Mean time of an answer, in milliseconds.")] = 300.0,
    jitter: Annotated[float, typer.Option(help="Spread of the time, as a share of the mean.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Same seed, same latencies and faults.")] = 7,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND=SHARE of calls that fail so, such as rate_limit=0.1.")
    ] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="Calls at once; more are refused.")] = None,
    refuse_with: Annotated[int, typer.Option(help="Status of that refusal: 429, or 529 for overload.")] = 529,
    retry_after_s: Annotated[str, typer.Option(help="Retry-After of that 429 in seconds, or off.")] = "1",
    requests_per_minute: Annotated[int | None, typer.Option(help="Calls of one key in a window.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens of one key in a window.")] = None,
    window_s: Annotated[float, typer.Option(help="Length of the sliding window, in seconds.")] = 60.0,
    enforce: Annotated[bool, typer.Option("--enforce/--observe", help="Refuse over quota, or only count.")] = True,
    outage: Annotated[str | None, typer.Option(help="Fail every call: refuse, 503, hang or drop.")] = None,
) -> None:
    """The simulated Anthropic and OpenAI API, until interrupted.

    At run time: faults by POST /faults, limits and outages by POST /limits, counts by GET /stats.
    """
    from rehearsal.model_api import Limits, ModelApiError, ModelApiSettings, read_outage, serve

    def ready(url: str) -> None:
        typer.echo(
            f"Model API at {url} (Ctrl-C ends it). For workers:\n"
            f"  export ANTHROPIC_API_KEY=simulated ANTHROPIC_BASE_URL={url}\n"
            f"  export OPENAI_API_KEY=simulated OPENAI_BASE_URL={url}/v1"
        )

    try:
        limits = Limits(
            max_in_flight=max_in_flight,
            refuse_with=refuse_with,
            retry_after_s=_seconds_or_off(retry_after_s),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            window_s=window_s,
            enforce=enforce,
            outage=read_outage(outage),
        )
        settings = ModelApiSettings(
            host=host,
            port=port,
            latency_ms=latency_ms,
            jitter=jitter,
            seed=seed,
            faults=_shares(fault or []),
            limits=limits,
        )
    except ModelApiError as error:
        raise typer.BadParameter(str(error)) from error

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for wish in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(wish, stop.set)
        await serve(settings, ready, stop)

    try:
        run(until_stopped())
    except ModelApiError as error:
        raise CommandFailed(str(error)) from error


@topics.command("apply")
def topics_apply(
    partitions: Annotated[int | None, typer.Option(help="Of each topic; fixed for ever.")] = None,
    replication: Annotated[int | None, typer.Option(help="Replicas; the broker's default without it.")] = None,
    prefix: Annotated[str | None, typer.Option(help="First part of the topics' names.")] = None,
    json: Json = False,
) -> None:
    """Creates the topics that are missing and shows what differs in the others. Never shrinks or repartitions."""
    from producers import TopicSettings, apply_topics
    from schemas import Cluster

    options = {"topic_partitions": "--partitions", "topic_replication": "--replication", "topic_prefix": "--prefix"}
    settings = TopicSettings.read(options, topic_partitions=partitions, topic_replication=replication)
    states = run(apply_topics(Cluster.read(options, topic_prefix=prefix), settings))
    if json:
        print_json([state._asdict() for state in states])
        return
    for state in states:
        verb = "created" if state.created else "differs" if state.differences else "exists"
        typer.echo(f"{verb:8} {state.name} ({state.partitions} partitions)")
        for difference in state.differences:
            typer.echo(f"         {difference}")


@app.command()
def worker(
    assistant: Annotated[
        str | None, typer.Argument(help="package.module:attribute; the built-in one without it.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Model calls in flight.")] = None,
    model: Annotated[str | None, typer.Option(help="Model of an assistant that names none.")] = None,
    health_port: Annotated[
        int | None, typer.Option(help="Port of /livez, /readyz, /metrics; 0 takes a free one.")
    ] = None,
) -> None:
    """One consumer worker, until SIGTERM; then it drains."""
    from schemas import Cluster
    from workers.process import serve
    from workers.settings import WorkerSettings

    settings = WorkerSettings.read(assistant=assistant, concurrency=concurrency, model=model, health_port=health_port)
    run(serve(Cluster.read(), settings))


@app.command()
def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    without_keys: Annotated[bool, typer.Option("--open", help="Ask for no keys. On loopback only.")] = False,
    health_port: Annotated[
        int | None, typer.Option(help="Port of /livez, /readyz, /metrics; 0 takes a free one.")
    ] = None,
) -> None:
    """The front door over HTTP: API, events, WebSockets, chat page and console, until SIGTERM."""
    from producers.gateway import GatewaySettings
    from schemas import Cluster

    from .gateway import serve

    options = {"gateway_host": "--host", "gateway_port": "--port", "gateway_open": "--open"}
    settings = GatewaySettings.read(
        options, gateway_host=host, gateway_port=port, gateway_open=without_keys or None, health_port=health_port
    )
    run(serve(Cluster.read(), settings))


@app.command()
def ask(
    text: Annotated[str | None, typer.Argument(help="What the user says.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="One turn a line: text, or a JSON chat turn. - is standard input.")
    ] = None,
    conversation: Annotated[str | None, typer.Option(help="Goes on with this conversation.")] = None,
    user: Annotated[str | None, typer.Option(help="Id of the user who asks.")] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Agrees to an action, in place of TEXT.")
    ] = None,
    decline: Annotated[str | None, typer.Option(metavar="ACTION", help="Declines an action, in place of TEXT.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the words as they come.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for each reply.")] = 120.0,
    json: Json = False,
) -> None:
    """Sends one turn, or a file of them, and prints the replies. Exit 1 when a turn failed or expired."""
    from pydantic import ValidationError

    from producers import ReplyTimeoutError, new_turn
    from schemas import Cluster, Confirm

    from .ask import ask_file, ask_once

    if sum(given is not None for given in (text, file, confirm, decline)) != 1:
        raise typer.BadParameter(
            "give TEXT, --file with one turn a line, or --confirm or --decline with an action's id"
        )
    cluster = Cluster.read()
    try:
        if file is not None:
            answered = run(ask_file(cluster, file, conversation, timeout, json))
        else:
            action = confirm or decline
            word = Confirm(action_id=action, accept=decline is None) if action else None
            turn = new_turn(text or "", conversation_id=conversation, user_id=user, confirm=word)
            answered = run(ask_once(cluster, turn, stream, timeout, json))
    except ReplyTimeoutError as error:
        raise CommandFailed(str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc'])) or 'the turn'}: {first['msg']}") from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not answered:
        raise typer.Exit(1)


@app.command()
def costs(
    since: Annotated[str | None, typer.Option(help="A time, or how long ago: 2h, 7d. Default: all there is.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's turns.")] = None,
    against: Annotated[
        str | None, typer.Option(help="The large model to compare with; default: the dearest known.")
    ] = None,
    turns_a_day: Annotated[float | None, typer.Option(min=0, help="For the forecast; default: as it was.")] = None,
    json: Json = False,
) -> None:
    """Spending by model, route, tenant and day, what was saved, and a forecast; from the replies on the topic."""
    from schemas import Cluster
    from workers.settings import WorkerSettings

    from .costs import as_json, read_costs, show
    from .dlq_options import moment_of

    from_ = moment_of("--since", since)
    since_ms = None if from_ is None else int(from_.timestamp() * 1000)
    accounts = run(read_costs(Cluster.read(), WorkerSettings.read().catalogue, against, since_ms, tenant))
    print_json(as_json(accounts, turns_a_day)) if json else show(accounts, turns_a_day)


@app.command()
def status(
    watch: Annotated[
        bool | None, typer.Option("--watch/--once", help="Refresh until Ctrl-C; the default on a terminal.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 2.0,
    check: Annotated[bool, typer.Option("--check", help="Look once; exit 1 when something severe is wrong.")] = False,
    json: Json = False,
) -> None:
    """What is wrong now and where the runbook tells what to do; lag, workers, breakers, spending. From Kafka alone."""
    from schemas import Cluster
    from workers.settings import WorkerSettings

    from .status import show

    if watch and (json or check):
        raise typer.BadParameter("--watch goes with neither --json nor --check: those look once")
    follow = sys.stdout.isatty() and not (json or check) if watch is None else watch
    if show(Cluster.read(), WorkerSettings.read(), watch=follow, every_s=every, as_json=json).severe and check:
        raise typer.Exit(1)


@app.command()
def rehearse(
    scenario: Annotated[Path | None, typer.Argument(help="A scenario (YAML); a 40x spike without one.")] = None,
    speed: Annotated[float | None, typer.Option(help="So many times shorter than the sale. Default: 20.")] = None,
    shape: Annotated[str | None, typer.Option(help="spike, sustained, decaying, points or recorded.")] = None,
    calm: Annotated[str | None, typer.Option(help="Turns before the sale opens, such as 5/s.")] = None,
    peak: Annotated[str | None, typer.Option(help="Turns at its height, such as 200/s.")] = None,
    least: Annotated[int | None, typer.Option(help="Fewest workers.")] = None,
    most: Annotated[int | None, typer.Option(help="Most workers.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Model calls in flight in one worker.")] = None,
    latency: Annotated[str | None, typer.Option(help="Of a model call in seconds: p50=0.6,p99=2.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers; an embedded Kafka without it.")] = None,
    real: Annotated[bool, typer.Option("--real", help="Call the real models. This costs money.")] = False,
    compare: Annotated[
        Literal["streamed", "routing"] | None, typer.Option(help="Hold it twice: plain or one large model first.")
    ] = None,
    targets: Annotated[Path | None, typer.Option(help="What figures must keep to (YAML).")] = None,
    report: Annotated[Path, typer.Option(help="Where the report with plots goes (HTML).")] = Path("rehearsal.html"),
    no_report: Annotated[bool, typer.Option("--no-report", help="Write none.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the scenario as YAML, and hold nothing.")] = False,
    json: Json = False,
) -> None:
    """A sale in a box: spike, faults, workers that come and go, a report. Exit 1 when a target is missed."""
    from . import rehearse as rehearsing

    given = rehearsing.scenario_of(
        scenario,
        targets,
        latency,
        speed=speed,
        traffic__shape=shape,
        traffic__calm=calm,
        traffic__peak=peak,
        workers__least=least,
        workers__most=most,
        workers__concurrency=concurrency,
        models__real=real or None,
    )
    if show:
        typer.echo(rehearsing.show(given), nl=False)
        return
    for wish in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(wish, lambda *_: signal.raise_signal(signal.SIGINT))  # it cleans up, as after Ctrl-C
    if not rehearsing.rehearse(given, kafka, compare, None if no_report else report, json):
        raise typer.Exit(1)


@app.command()
def plan(
    peak: Annotated[str, typer.Option(help="Turns at the height of the sale, such as 200/s or 12000/m.")],
    latency: Annotated[str | None, typer.Option(help="Of one model call. Default: p50=3,p99=20 (seconds).")] = None,
    rpm: Annotated[str | None, typer.Option(help="Requests a minute that the provider allows, such as 12k.")] = None,
    tpm: Annotated[str | None, typer.Option(help="Tokens a minute that it allows, such as 20M.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Of one turn. Default: in=900,out=120; also cached=.")] = None,
    calm: Annotated[str | None, typer.Option(help="Turns before the sale. Default: a fortieth of the peak.")] = None,
    climb: Annotated[str | None, typer.Option(help="From calm to peak. Default: 5m.")] = None,
    hold: Annotated[str | None, typer.Option(help="At the peak. Default: 30m.")] = None,
    wait: Annotated[str | None, typer.Option(help="What turns may wait at the peak. Default: p99=5.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Calls at once in a pod. Default: 50.")] = None,
    partitions: Annotated[
        int | None, typer.Option(help="Of a topic that is there already. Default: as needed.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Who answers; several as NAME=SHARE. Default: claude-haiku-4-5.")
    ] = None,
    faq: Annotated[str | None, typer.Option(help="Share of turns that no model answers, such as 0.2.")] = None,
    conversations: Annotated[int | None, typer.Option(help="Customers who write, some before their reply.")] = None,
    calls_at_once: Annotated[
        int | None, typer.Option(help="Calls at once that the provider takes of all pods.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="USD to spend in a day at most.")] = None,
    opens: Annotated[str | None, typer.Option(help="When the sale opens, such as '2026-11-27 00:00'.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of --opens. Default: UTC.")] = None,
    pod_start: Annotated[str | None, typer.Option(help="From the wish to a working pod. Default: 20s.")] = None,
    ttl: Annotated[str | None, typer.Option(help="How long a turn may wait at all. Default: 120s.")] = None,
    speed: Annotated[float | None, typer.Option(help="As a rehearsal that is so many times shorter.")] = None,
    kustomize: Annotated[Path | None, typer.Option(help="Write the overlay's plan.yaml here.")] = None,
    json: Json = False,
) -> None:
    """Pods, partitions, pre-scaling, quota and money for an expected sale; what turns will wait, and what breaks first."""
    said = {name: value for name, value in locals().items() if name not in ("json", "kustomize")}
    from .plan import as_json, expected_of, kept_partitions, planned, values_of

    said["partitions"] = kept_partitions(kustomize, said["partitions"])
    found = planned(expected_of(said))
    values = values_of(found, kustomize, shlex.join(["spillway", *sys.argv[1:]]))
    if json:
        print_json(as_json(found, values))
        return
    from .plan_screen import show

    show(found, values, kustomize)


@app.command()
def contract(
    schemas: Annotated[bool, typer.Option("--schemas", help="JSON Schemas of the messages, not AsyncAPI.")] = False,
    prefix: Annotated[str | None, typer.Option(help="First part of the topics' names.")] = None,
) -> None:
    """The contract for frontends as JSON: an AsyncAPI 3 document, or the JSON Schemas of the messages."""
    from schemas import Cluster
    from schemas.contract import asyncapi, json_schemas

    print_json(
        json_schemas()
        if schemas
        else asyncapi(Cluster.read({"topic_prefix": "--prefix"}, topic_prefix=prefix).topic_prefix, version("spillway"))
    )


def _shares(faults: list[str]) -> dict[str, float]:
    shares = {}
    for fault in faults:
        kind, _, share = fault.partition("=")
        try:
            shares[kind] = float(share)
        except ValueError:
            raise typer.BadParameter(f"--fault {fault!r}: write KIND=SHARE, such as rate_limit=0.1") from None
    return shares


def _seconds_or_off(text: str) -> float | None:
    try:
        return None if text == "off" else float(text)
    except ValueError:
        raise typer.BadParameter(f"--retry-after-s {text!r}: write seconds, or off") from None

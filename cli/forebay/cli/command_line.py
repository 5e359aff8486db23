"""The command line. Each command reads its settings, calls one function, and says in one line what went wrong."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .assistant import assistant
from .command import CommandFailed, Json, fail, print_json, run
from .dlq import dlq
from .handoffs import handoffs
from .local import broker, demo, model_api
from .sale import plan, rehearse
from .token import token

app = typer.Typer(
    name="forebay",
    help="Peak-load buffering for LLM chat on Kafka: nothing lost, doubled or reordered.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)
app.command()(broker)
app.command("model-api")(model_api)
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

    from forebay.schemas import ClusterError, SettingsError

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


@topics.command("apply")
def topics_apply(
    partitions: Annotated[int | None, typer.Option(help="Of each topic; fixed for ever.")] = None,
    replication: Annotated[int | None, typer.Option(help="Replicas; the broker's default without it.")] = None,
    prefix: Annotated[str | None, typer.Option(help="First part of the topics' names.")] = None,
    json: Json = False,
) -> None:
    """Creates the topics that are missing and shows what differs in the others. Never shrinks or repartitions."""
    from forebay.producers import TopicSettings, apply_topics
    from forebay.schemas import Cluster

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
    from forebay.schemas import Cluster
    from forebay.workers.process import serve
    from forebay.workers.settings import WorkerSettings

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
    from forebay.gateway import GatewaySettings
    from forebay.schemas import Cluster

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

    from forebay.producers import ReplyTimeoutError, new_turn
    from forebay.schemas import Cluster, Confirm

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
    from forebay.schemas import Cluster
    from forebay.workers.settings import WorkerSettings

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
    from forebay.schemas import Cluster
    from forebay.workers.settings import WorkerSettings

    from .status import show

    if watch and (json or check):
        raise typer.BadParameter("--watch goes with neither --json nor --check: those look once")
    follow = sys.stdout.isatty() and not (json or check) if watch is None else watch
    if show(Cluster.read(), WorkerSettings.read(), watch=follow, every_s=every, as_json=json).severe and check:
        raise typer.Exit(1)


app.command()(plan)
app.command()(rehearse)


@app.command()
def contract(
    schemas: Annotated[bool, typer.Option("--schemas", help="JSON Schemas of the messages, not AsyncAPI.")] = False,
    prefix: Annotated[str | None, typer.Option(help="First part of the topics' names.")] = None,
) -> None:
    """The contract for frontends as JSON: an AsyncAPI 3 document, or the JSON Schemas of the messages."""
    from forebay.schemas import Cluster
    from forebay.schemas.contract import asyncapi, json_schemas

    print_json(
        json_schemas()
        if schemas
        else asyncapi(Cluster.read({"topic_prefix": "--prefix"}, topic_prefix=prefix).topic_prefix, version("forebay"))
    )

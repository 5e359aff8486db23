"""``forebay model-api``: the simulated Anthropic and OpenAI API."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from .command import CommandFailed, run


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
    from forebay.rehearsal.model_api import Limits, ModelApiError, ModelApiSettings, read_outage, serve

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
        import asyncio

        stop = asyncio.Event()
        for wish in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(wish, stop.set)
        await serve(settings, ready, stop)

    try:
        run(until_stopped())
    except ModelApiError as error:
        raise CommandFailed(str(error)) from error


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

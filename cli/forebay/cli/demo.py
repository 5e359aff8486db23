"""``forebay demo``: a sale on this machine."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from .command import CommandFailed, Json


def demo(
    real: Annotated[bool, typer.Option("--real", help="Call the real API whose key is set. This costs money.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Let it run on, with the chat page and the console.")] = False,
    json: Json = False,
) -> None:
    """A sale on this machine: real Kafka, simulated models, two workers, a 40x spike, one worker killed, a report."""
    from forebay.rehearsal.demo import DemoError, run_demo
    from forebay.rehearsal.servers.kafka import EmbeddedKafkaError

    for wish in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(wish, lambda *_: signal.raise_signal(signal.SIGINT))  # it cleans up, as after Ctrl-C
    try:
        passed = run_demo(real=real, as_json=json, stay=stay)
    except (DemoError, EmbeddedKafkaError) as error:
        raise CommandFailed(str(error)) from error
    if not passed:
        raise typer.Exit(1)

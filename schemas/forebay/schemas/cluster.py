"""Connection settings of the Kafka cluster: address, encryption, login, topic prefix."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal, Self

from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError, SaslAuthenticationFailed
from aiokafka.helpers import create_ssl_context
from pydantic import Field, SecretStr, field_validator, model_validator

from .environment import Environment, SettingsError
from .topics import Topics


class ClusterError(Exception):
    """The cluster cannot be used; the message says why and what to do."""


class Cluster(Environment):
    """How every process connects to Kafka, and the prefix of the topic names."""

    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers, ``host:port`` separated by commas."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Whether the connection is encrypted (``SSL``) and whether it logs in (``SASL``)."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How it logs in."""
    kafka_sasl_username: str | None = None
    """User name; required with SASL."""
    kafka_sasl_password: SecretStr | None = None
    """Password; required with SASL."""
    kafka_ssl_cafile: Path | None = None
    """CA certificates (PEM) to verify the brokers with; default: those of the system."""
    kafka_ssl_certfile: Path | None = None
    """Client certificate (PEM), where brokers require one; with ``kafka_ssl_keyfile``."""
    kafka_ssl_keyfile: Path | None = None
    """Private key of ``kafka_ssl_certfile``."""
    topic_prefix: str = Field(default="chat", pattern=r"^[A-Za-z0-9._-]{1,200}$")
    """First part of each topic's name."""

    @field_validator("kafka")
    @classmethod
    def _host_and_port(cls, servers: str) -> str:
        for server in servers.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
                raise ValueError(f"{server.strip()!r} is not host:port; write them as host:port,host:port")
        return servers

    @field_validator("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
    @classmethod
    def _readable(cls, file: Path | None) -> Path | None:
        if file is not None and not file.is_file():
            raise ValueError("no such file")
        return file

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError(
                f"FOREBAY_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs "
                "FOREBAY_KAFKA_SASL_USERNAME and FOREBAY_KAFKA_SASL_PASSWORD"
            )
        if (self.kafka_ssl_certfile is None) != (self.kafka_ssl_keyfile is None):
            raise ValueError("FOREBAY_KAFKA_SSL_CERTFILE and FOREBAY_KAFKA_SSL_KEYFILE go together: set both or none")
        return self

    @property
    def topics(self) -> Topics:
        """The names of the topics under this prefix."""
        return Topics(self.topic_prefix)

    def explain(self, error: Exception) -> ClusterError:
        """One line that explains an error which a Kafka client raised while it connected."""
        where = f"Kafka at {self.kafka}"
        if isinstance(error, (AuthenticationFailedError, SaslAuthenticationFailed)):
            return ClusterError(
                f"{where} refuses FOREBAY_KAFKA_SASL_USERNAME={self.kafka_sasl_username!r} or its password ({error})"
            )
        if isinstance(error, ssl.SSLError):
            return ClusterError(f"{where}: TLS failed: {error.reason or error}: check FOREBAY_KAFKA_SSL_CAFILE")
        if isinstance(error, KafkaConnectionError):
            return ClusterError(
                f"{where} does not answer: check FOREBAY_KAFKA, FOREBAY_KAFKA_SECURITY_PROTOCOL and the credentials, "
                "or start one here with `forebay broker`"
            )
        return ClusterError(f"{where}: {type(error).__name__}: {error}")

    def missing(self, existing: Collection[str], needed: Iterable[str]) -> None:
        """Raises ClusterError when one of the needed topics does not exist."""
        if absent := [topic for topic in needed if topic not in existing]:
            raise ClusterError(
                f"Kafka at {self.kafka} has no topic {', '.join(absent)}: create them with `forebay topics apply`"
            )

    def connection(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes: address, protocol, SASL and TLS.

        Raises SettingsError when a certificate or key cannot be read.
        """
        arguments: dict[str, Any] = {
            "bootstrap_servers": [server.strip() for server in self.kafka.split(",")],
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.startswith("SASL"):
            assert self.kafka_sasl_password is not None
            arguments |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.kafka_sasl_password.get_secret_value(),
            }
        if self.kafka_security_protocol.endswith("SSL"):
            arguments["ssl_context"] = self._tls()
        return arguments

    def _tls(self) -> ssl.SSLContext:
        files = (self.kafka_ssl_cafile, self.kafka_ssl_certfile, self.kafka_ssl_keyfile)
        try:
            context: ssl.SSLContext = create_ssl_context(cafile=files[0], certfile=files[1], keyfile=files[2])
        except (ssl.SSLError, OSError) as error:
            named = ", ".join(str(file) for file in files if file is not None)
            raise SettingsError(
                f"FOREBAY_KAFKA_SSL_CAFILE, _CERTFILE or _KEYFILE ({named}) cannot be read: {error}"
            ) from None
        return context

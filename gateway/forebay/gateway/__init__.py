"""The front door over HTTP: turns in, events out, for clients that speak no Kafka."""

from .gateway import Gateway
from .settings import GatewaySettings

__all__ = ["Gateway", "GatewaySettings"]

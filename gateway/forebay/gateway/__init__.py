"""The HTTP gateway: takes turns and sends events, for clients that do not speak Kafka."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    ".gateway": "Gateway",
    ".settings": "GatewaySettings",
}

if TYPE_CHECKING:
    from .gateway import Gateway
    from .settings import GatewaySettings
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = ["Gateway", "GatewaySettings"]

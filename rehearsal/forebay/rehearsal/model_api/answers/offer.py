"""A tool as a request offers it, the same for both vendors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that the model may call."""

    name: str
    description: str
    schema: Mapping[str, Any]
    """JSON Schema of its arguments; empty where the request has none."""

    @classmethod
    def read(cls, tool: Mapping[str, Any], schema: str) -> Offer:
        """From a tool's definition, whose arguments are described under the key `schema`."""
        described = tool.get(schema)
        return cls(
            str(tool["name"]), str(tool.get("description") or ""), described if isinstance(described, dict) else {}
        )

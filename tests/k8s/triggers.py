"""KEDA's triggers, whose fields its CRD does not name: those that its own scalers read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .crds import KEDA
from .tools import module


def mistakes(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Fields of a ScaledObject's triggers that KEDA would ignore, a line each. Raises CheckError."""
    if manifest["kind"] != "ScaledObject":
        return
    for trigger in manifest["spec"]["triggers"]:
        scaler = module(KEDA) / "pkg/scalers" / f"{trigger['type']}_scaler.go"
        read = set(re.findall(r'keda:"name=(\w+)', scaler.read_text()))
        for name in sorted(trigger["metadata"].keys() - read):
            yield f"ScaledObject {manifest['metadata']['name']}: KEDA's {trigger['type']} trigger has no field {name}"

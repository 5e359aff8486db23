"""The manifests as they are written, before kustomize: what tests compare with the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())


def manifests(kind: str, below: Path = K8S) -> dict[str, Any]:
    """All of a kind, by name; patches of the same name are left out."""
    found: dict[str, Any] = {}
    for file in sorted(below.rglob("*.yaml")):
        for manifest in yaml.safe_load_all(file.read_text()):
            if isinstance(manifest, dict) and manifest.get("kind") == kind and "metadata" in manifest:
                found.setdefault(manifest["metadata"]["name"], manifest)
    return found


def container(deployment: str) -> Any:
    """The one container of a Deployment of the base, or of the webhooks beside it."""
    deployments = manifests("Deployment", K8S / "webhooks") | manifests("Deployment", K8S / "base")
    (only,) = deployments[deployment]["spec"]["template"]["spec"]["containers"]
    return only


def plan(overlay: str) -> dict[str, str]:
    """The values of its plan."""
    data: dict[str, str] = yaml.safe_load((K8S / "overlays" / overlay / "plan.yaml").read_text())["data"]
    return data


def replacements() -> Iterator[Mapping[str, Any]]:
    """Every replacement of every component."""
    for file in K8S.glob("*/kustomization.yaml"):
        yield from yaml.safe_load(file.read_text()).get("replacements", ())


def compose() -> Any:
    """``compose.yaml``."""
    return yaml.safe_load((ROOT / "compose.yaml").read_text())

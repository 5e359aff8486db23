"""``make k8s``: builds every overlay, checks it against the schemas and lets kube-score judge it. Exit 1 with a finding."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from . import triggers
from .crds import crds
from .schemas import Schemas
from .tools import CheckError, run, tool

OVERLAYS = Path("k8s/overlays")


def findings(overlay: Path, schemas: Schemas) -> Iterator[str]:
    """What is wrong with it, a line each. Raises CheckError when it cannot be built."""
    built = run(tool("kustomize"), "build", overlay)
    manifests = list(yaml.load_all(built, Loader=yaml.CSafeLoader))
    print(f"{overlay.name}: {len(manifests)} manifests")
    for manifest in manifests:
        yield from schemas.mistakes(manifest)
        yield from triggers.mistakes(manifest)
    scored = tool("kube-score"), "score", "--output-format", "ci", "--exit-one-on-warning", "-"
    try:
        run(*scored, given=built)
    except CheckError as error:
        lines = str(error).splitlines()
        yield from [line for line in lines if line.startswith(("[WARNING]", "[CRITICAL]"))] or lines


def main() -> int:
    """Returns the exit status."""
    try:
        schemas = Schemas(crds())
        found = [
            f"{overlay.name}: {finding}"
            for overlay in sorted(OVERLAYS.iterdir())
            for finding in findings(overlay, schemas)
        ]
    except CheckError as error:
        print(f"make k8s: {error}", file=sys.stderr)
        return 1
    print("\n".join(found) or "nothing to find fault with")
    return 1 if found else 0


sys.exit(main())

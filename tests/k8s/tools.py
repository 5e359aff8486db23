"""The tools that check manifests, built once by Go from pinned versions into the environment's own folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "k8s"
"""Beside the interpreter: forgotten with the environment."""
VERSIONS = {
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5@v5.8.2",
    "kube-score": "github.com/zegl/kube-score/cmd/kube-score@v1.20.0",
}


class CheckError(Exception):
    """A check could not be made; the message says why and what to do."""


def run(*command: str | Path, given: str | None = None) -> str:
    """What the command prints. Raises CheckError with all that it said when it fails."""
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode:
        raise CheckError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def tool(name: str) -> Path:
    """The program, built where this version of it is not there yet (about a minute). Raises CheckError."""
    package = VERSIONS[name]
    bin_folder = FOLDER / package.rpartition("@")[2]
    if not (bin_folder / name).exists():
        _go("install", "-trimpath", "-ldflags=-s -w", package, GOBIN=str(bin_folder))
    return bin_folder / name


def module(name: str) -> Path:
    """The sources of a Go module, ``path@version``. Raises CheckError."""
    return Path(json.loads(_go("mod", "download", "-json", name))["Dir"])


def _go(*words: str, **environment: str) -> str:
    if shutil.which("go") is None:
        raise CheckError("go is not installed: the tools that check manifests are built with it (1.26 or newer)")
    done = subprocess.run(
        ["go", *words], capture_output=True, text=True, cwd=FOLDER.parent, env=os.environ | environment
    )
    if done.returncode:
        raise CheckError(f"go {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout

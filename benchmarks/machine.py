"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

import psutil

from forebay.rehearsal.servers.kafka_jars import KAFKA_VERSION

from .peers import parallel_consumer

PACKAGES = ("forebay", "aiokafka", "faststream", "uvloop")
POM = {"pom": "http://maven.apache.org/POM/4.0.0"}


def machine() -> str:
    """Cores, memory and processor."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB memory, {_processor()}, {platform.system()}"


def versions() -> str:
    """Broker, interpreter, libraries and Java."""
    known = [f"Apache Kafka {KAFKA_VERSION} (one node)", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    known.append(f"Parallel Consumer {_parallel_consumer()}")
    return ", ".join([*known, _java()])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _parallel_consumer() -> str:
    pom = ElementTree.parse(parallel_consumer.HERE / "pom.xml")
    return pom.findtext("pom:dependencies/pom:dependency/pom:version", "?", POM)


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        return "no JDK"
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr.split('"')
    return f"Java {printed[1]}" if len(printed) > 1 else "Java ?"

"""Builds and names the Java peer: Confluent's Parallel Consumer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
JAR = HERE / "target" / "peer.jar"
# Of the collectors tried on two cores (serial, parallel, G1) the one with the least memory, at the same rate.
JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")


def missing() -> str | None:
    """Why it cannot run on this machine, in one line, or None."""
    if shutil.which("java") is None:
        return "needs a JDK 17 or newer (`java` is not on the path)"
    if shutil.which("mvn") is None and not JAR.exists():
        return "needs Maven once, to build it (`mvn` is not on the path)"
    return None


def build() -> None:
    """Builds the jar with Maven unless it is newer than its sources."""
    sources = [HERE / "pom.xml", *(HERE / "src").rglob("*")]
    if JAR.exists() and all(path.stat().st_mtime <= JAR.stat().st_mtime for path in sources if path.is_file()):
        return
    subprocess.run(["mvn", "-B", "-q", "package"], cwd=HERE, check=True, timeout=600)


def command(main: str, *arguments: str, jvm: tuple[str, ...] = JVM) -> list[str]:
    """The command line of one of its main classes; ``jvm`` are the virtual machine's options."""
    classpath = os.pathsep.join([str(JAR), str(JAR.parent / "lib" / "*")])
    return [shutil.which("java") or "java", *jvm, "-cp", classpath, main, *arguments]

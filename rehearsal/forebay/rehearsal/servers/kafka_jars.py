"""The jars of Apache Kafka: resolved once by jgo, checked against pinned SHA-256 digests, kept in a cache.

``jgo`` checks each download against the SHA-1 its server names; that proves a whole transfer, not an honest server.
So every jar is also compared with ``kafka_jars.sha256`` before Java ever sees it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KAFKA_VERSION = "4.3.1"
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
_PINNED = Path(__file__).with_name("kafka_jars.sha256")

Progress = Callable[[str], None]
"""Is told one human sentence at a time while something slow happens."""


class KafkaJarsError(Exception):
    """The jars of Apache Kafka cannot be had; the message says why and what to do."""


def cache_folder() -> Path:
    """Where what was downloaded once is kept: ``$XDG_CACHE_HOME/forebay``, else ``~/.cache/forebay``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "forebay"


def kafka_jars(progress: Progress = lambda _: None) -> Path:
    """The folder with every jar of Kafka, downloading them (46 MB) the first time on this machine.

    Raises KafkaJarsError when they cannot be downloaded or are not the ones this project was built with.
    """
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}" / "jars"
    if folder.is_dir():
        return folder
    with exclusive(folder.parent):
        if not folder.is_dir():
            _resolve_into(folder, progress)
    return folder


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, so that of several processes started together one does the work."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _resolve_into(folder: Path, progress: Progress) -> None:
    pinned = _pinned_digests()
    progress(f"downloading Apache Kafka {KAFKA_VERSION} ({len(pinned)} jars, 46 MB; only the first time)")
    found = _download(folder.parent / "resolved", len(pinned), progress)
    partial = folder.with_name("jars.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for jar in found:
        if hashlib.sha256(jar.read_bytes()).hexdigest() != pinned.get(jar.name):
            raise KafkaJarsError(f"{jar.name} is not the jar this version was built with: delete {jar} and try again")
        shutil.copyfile(jar, partial / jar.name)
    if missing := pinned.keys() - {jar.name for jar in found}:
        raise KafkaJarsError(f"jars of Kafka are missing after the download: {', '.join(sorted(missing))}")
    shutil.rmtree(folder.parent / "resolved", ignore_errors=True)
    # Only a complete folder ever bears the name that is looked for.
    partial.rename(folder)


def _download(into: Path, expected: int, progress: Progress) -> list[Path]:
    import jgo
    from jgo.maven import Artifact, PythonResolver

    class Counting(PythonResolver):
        done = 0

        def download(self, artifact: Artifact) -> Path | None:
            path = super().download(artifact)
            if path is not None and path.suffix == ".jar":
                self.done += 1
                progress(f"downloading Apache Kafka {KAFKA_VERSION}: {min(self.done, expected)} of {expected} jars")
            return path

    try:
        environment = jgo.build(_ENDPOINT, cache_dir=into, resolver=Counting())
    except Exception as error:  # jgo raises whatever its HTTP client or its XML reader raised
        raise KafkaJarsError(
            f"Apache Kafka {KAFKA_VERSION} cannot be downloaded ({error}): check the network or proxy, "
            "or run `forebay broker` once where there is one and copy the folder " + str(cache_folder())
        ) from error
    return list(environment.all_jars)


def _pinned_digests() -> dict[str, str]:
    lines = _PINNED.read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

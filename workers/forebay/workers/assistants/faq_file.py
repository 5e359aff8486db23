"""The file of a FAQ, followed while it changes."""

from __future__ import annotations

from pathlib import Path

import structlog

from forebay.schemas import SettingsError

from .faq_matching import Faq

LOOK_EVERY_S = 1.0
"""A file is looked at for changes at most this often."""
MAX_BYTES = 1_000_000
"""Of a file: it is read in the event loop, which has turns to serve."""
_LONGEST_LOGGED = 500

log = structlog.get_logger()


class FaqFile:
    """A FAQ that follows its file. A broken new version is logged once, and the answers stay as they were."""

    def __init__(self, path: Path, now: float) -> None:
        """``now`` is in seconds of any steady clock. Raises SettingsError."""
        self._path = path
        self._looked = now
        self._version = self._seen()
        self._faq = self._read()

    def current(self, now: float) -> Faq:
        """The answers as of now."""
        if now - self._looked < LOOK_EVERY_S:
            return self._faq
        self._looked = now
        # The version is taken first: what changes while the file is read is seen at the next look.
        version = self._seen()
        if version == self._version:
            return self._faq
        self._version = version
        try:
            self._faq = self._read()
        except SettingsError as error:
            log.error("faq.broken", error=_cut(str(error)), kept=len(self._faq))
        else:
            log.info("faq.loaded", path=str(self._path), entries=len(self._faq))
        return self._faq

    def _seen(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> Faq:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            text = data.decode() if len(data) <= MAX_BYTES else None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self._path}: cannot be read as UTF-8 text: {error}") from None
        if text is None:
            raise SettingsError(f"{self._path}: is larger than {MAX_BYTES:,} bytes; keep only what is asked often")
        return Faq.parse(text, str(self._path))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_LOGGED else text[: _LONGEST_LOGGED - 3] + "..."

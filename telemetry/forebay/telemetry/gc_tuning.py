"""Tunes CPython's garbage collector for processes that run for days."""

from __future__ import annotations

import gc


def settle_memory() -> None:
    """Freezes what lives as long as the process, and makes collections rare.

    A turn's objects die by reference count; a full collection walks every object of the SDKs for tens of milliseconds, and
    of ten thousand connections for hundreds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)

"""Memory: how CPython's collector is kept from standing in the way of a process that serves for days."""

from __future__ import annotations

import gc


def settle_memory() -> None:
    """Keeps the collector off what lives as long as the process, and from running at every few turns.

    A turn's objects die by reference count; a full collection walks every object of the SDKs for tens of milliseconds, and
    of ten thousand connections for hundreds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)

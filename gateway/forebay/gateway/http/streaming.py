"""Whether turns are streamed now, or answered whole because the load is too high. Pure."""

from __future__ import annotations


class Streaming:
    """The decision, with hysteresis: it does not flicker at the threshold."""

    def __init__(self, *, wait_s: float, deltas: float) -> None:
        """Turns are answered whole above this estimated wait, or above so many deltas a second."""
        self._wait_s, self._deltas = wait_s, deltas
        self.on = True

    def note(self, wait_s: float, deltas: float) -> bool:
        """Takes the current measurements; returns whether turns are streamed."""
        load = max(wait_s / self._wait_s, deltas / self._deltas)
        self.on = load <= 1.0 if self.on else load < 0.5
        return self.on

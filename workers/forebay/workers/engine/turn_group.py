"""A turn group: the turns of one conversation that are answered together. Most groups are of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .inbound import InboundRecord
from .permit import Permit


class Interrupted(Exception):
    """What was under way for a group is not wanted any more: `TurnGroup` says which of its turns, and why."""


class TurnGroup:
    """The turns that a handler is given, and what the engine tells it of them while it works.

    A handler does what may be broken off inside `interruptible`, and everything else (tools, the store) outside of it.
    """

    __slots__ = (
        "_absorb",
        "_answered",
        "_cancelled",
        "_task",
        "committed",
        "interrupted",
        "permit",
        "refused",
        "turns",
    )

    def __init__(
        self,
        turns: Sequence[InboundRecord],
        permit: Permit,
        absorb: Callable[[TurnGroup], Sequence[InboundRecord]] = lambda _: (),
    ) -> None:
        """``absorb`` gives the waiting turns that join the group now."""
        self.turns = list(turns)
        """In the order of their partition; the last one that is wanted has the answer to all."""
        self.permit = permit
        self.refused = False
        """Whether it came while its conversation was busy, and did not want to wait."""
        self.interrupted = False
        """Whether a later turn wants to be answered together with these."""
        self.committed = False
        """Whether something began that may not be done twice; set by the handler. From then on only a cancellation of all
        that is being answered breaks it off.
        """
        self._absorb = absorb
        self._answered: Sequence[InboundRecord] = ()
        self._cancelled: set[InboundRecord] = set()
        self._task: asyncio.Task[object] | None = None

    # Told by the engine

    def cancel(self, turn: InboundRecord) -> None:
        """A turn of the group is no longer wanted."""
        self._cancelled.add(turn)
        self._break_off()

    def interrupt(self) -> None:
        """A later turn waits that these are to be answered with."""
        self.interrupted = True
        self._break_off()

    def _break_off(self) -> None:
        if self._task is not None and self._unwanted():
            self._task.cancel()
            self._task = None

    def _unwanted(self) -> bool:
        """Whether what is being answered is not wanted as it is."""
        taken_back = [turn in self._cancelled for turn in self._answered]
        return all(taken_back) if self.committed else self.interrupted or any(taken_back)

    # Asked by the handler

    def cancelled(self, turn: InboundRecord) -> bool:
        """Whether this turn is no longer wanted."""
        return turn in self._cancelled

    def absorb(self) -> None:
        """Takes in the waiting turns for which this group was interrupted."""
        self.interrupted = False
        self.turns += self._absorb(self)

    @contextmanager
    def interruptible(self, answered: Sequence[InboundRecord]) -> Iterator[None]:
        """Work for the turns that are being ``answered``: it is broken off, and Interrupted raised, when it is not wanted as
        it is any more. Like `asyncio.timeout`, it tells its own cancellation from those of others.
        """
        self._answered = answered
        if self._unwanted():
            raise Interrupted
        task = self._task = asyncio.current_task()
        assert task is not None
        others = task.cancelling()
        try:
            yield
        except asyncio.CancelledError:
            if self._task is None and task.uncancel() <= others:
                raise Interrupted from None
            raise
        except BaseException:
            self._settle(task)
            raise
        else:
            self._settle(task)
        finally:
            self._task = None

    def _settle(self, task: asyncio.Task[object]) -> None:
        """The work ended by itself in the very moment in which it was broken off: so it counts."""
        if self._task is None:
            task.uncancel()

"""Pauses: what operators have paused. Pure."""

from __future__ import annotations

from forebay.schemas import Command


class Pauses:
    """The pauses that are in force.

    The last command counts, whether it was to all workers or to this one. A `resume` that names no partition ends every
    pause, so that none is forgotten; one that names a partition does not end a pause of everything.
    """

    __slots__ = ("_partitions", "everything")

    def __init__(self) -> None:
        self.everything = False
        """Whether no partition may be worked on."""
        self._partitions: set[int] = set()

    def obey(self, command: Command) -> None:
        """Carries out a `pause` or a `resume`; ignores any other command."""
        partition = command.partition
        if command.command == "pause":
            if partition is None:
                self.everything = True
            else:
                self._partitions.add(partition)
        elif command.command == "resume":
            if partition is None:
                self.everything = False
                self._partitions.clear()
            else:
                self._partitions.discard(partition)

    def paused(self, partition: int) -> bool:
        """Whether this partition is paused, by itself or with all others."""
        return self.everything or partition in self._partitions

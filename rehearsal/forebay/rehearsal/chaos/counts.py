"""The counts of a run, and which of them break a promise. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the records of a run."""

    turns: int
    """Turns in the requests topic; poison left out."""
    answered: int
    given_up: int
    """Turns whose reply says that there is no answer; each has to have a dead letter."""
    lost: int
    """Turns without any reply."""
    conflicting: int
    """Turns with two different replies."""
    repeats: int
    """Replies published again with the same bytes, which readers drop by turn id."""
    out_of_order: int
    """Replies that came before one of an earlier turn of their conversation."""
    forgotten: int
    """Answers of a model that was not shown exactly the answered turns before."""
    extra_calls: int
    """Calls that the model answered, beyond one a turn."""
    extra_after_kill: int
    """Those of turns that a process was at when it was killed, or ended by itself."""
    in_flight: int
    """Turns that those processes had called for and not replied to at those moments: as many calls may be made again."""
    extra_after_stop: int
    """Those of turns that a process was at when it was stopped: it wakes up and goes on beside who took over."""
    extra_handed_over: int
    """Those of turns that a living process was at when another one took over their partition."""
    extra_unexplained: int
    """Those of one and the same process."""
    extra_after_reply: int
    """Those that began when the turn's reply was in its topic already."""
    poison: int
    unburied: int
    """Poison and given-up turns without a dead letter."""
    stray_letters: int
    """Dead letters of records that are neither."""
    altered_letters: int
    """Dead letters whose key, value or reason is not as it should be."""
    repeated_letters: int
    """Dead letters published again after a crash; they name the same record."""
    poison_calls: int
    """Model calls for records that are no turns."""
    examples: tuple[str, ...] = field(default=(), compare=False)
    """A few of the things found, in words."""

    def broken(self) -> list[str]:
        """The promises of Forebay that were broken, in words."""
        found = {
            f"{self.lost} lost": self.lost,
            f"{self.conflicting} answered twice with different words": self.conflicting,
            f"{self.out_of_order} out of order": self.out_of_order,
            f"{self.forgotten} answered without their past": self.forgotten,
            f"{self.extra_after_reply} model calls for turns that had their reply": self.extra_after_reply,
            f"{self.extra_after_kill} model calls made again with {self.in_flight} in flight at the kills": (
                self.extra_after_kill > self.in_flight
            ),
            f"{self.extra_unexplained} model calls made twice by one worker": self.extra_unexplained,
            f"{self.unburied} without a dead letter": self.unburied,
            f"{self.stray_letters} dead letters of sound turns": self.stray_letters,
            f"{self.altered_letters} dead letters altered": self.altered_letters,
            f"{self.poison_calls} model calls for poison": self.poison_calls,
        }
        return [words for words, broken in found.items() if broken]

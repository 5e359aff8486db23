"""What a turn does that comes while its conversation has an unfinished one; apart, since a command's help needs no more."""

from __future__ import annotations

from typing import Literal

WhenBusy = Literal["enqueue", "merge", "interrupt", "reject"]

"""A profile of calls: which of our functions ran, in which order, and over how many files."""

from __future__ import annotations

import sys
import traceback
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

from rich.console import Console

ROOTS = ("schemas", "telemetry", "producers", "workers", "operations", "gateway")
REPOSITORY = Path(__file__).resolve().parent.parent


class Profile:
    """Notes the calls in our source roots while it is entered, in their order."""

    def __init__(self) -> None:
        self.calls: list[CodeType] = []
        self.depth = 0
        self._ours: dict[CodeType, bool] = {}
        self._begun: set[FrameType] = set()

    @property
    def files(self) -> set[str]:
        """The files that were called into."""
        return {code.co_filename for code in self.calls}

    @property
    def switches(self) -> int:
        """How often a call was into another file than the call before it."""
        return sum(one.co_filename != other.co_filename for one, other in pairwise(self.calls))

    def __enter__(self) -> Self:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        # What is resumed after a wait was called before.
        if event == "call" and self._is_ours(frame.f_code) and frame not in self._begun:
            self._begun.add(frame)
            self.calls.append(frame.f_code)
            self.depth = max(self.depth, sum(self._is_ours(one.f_code) for one, _ in traceback.walk_stack(frame)))

    def _is_ours(self, code: CodeType) -> bool:
        if code not in self._ours:
            file = Path(code.co_filename)
            inside = file.is_relative_to(REPOSITORY) and file.relative_to(REPOSITORY).parts[0] in ROOTS
            self._ours[code] = inside and code.co_name not in ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
        return self._ours[code]

    def print(self, more: str = "") -> None:
        """Prints the functions by file, then the numbers."""
        functions = set(self.calls)
        console = Console(width=140, highlight=False)
        for file in sorted(self.files):
            names = sorted(code.co_qualname for code in functions if code.co_filename == file)
            console.print(f"{Path(file).relative_to(REPOSITORY)}: {', '.join(names)}", markup=False)
        console.print(
            f"\n{len(self.calls)} calls of {len(functions)} functions in {len(self.files)} files, "
            f"{self.switches} file switches, depth {self.depth}{more}"
        )

"""The documentation as tests see it: its pages, their blocks of code, headings and links."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    text: str
    line: int
    marker: str
    """The HTML comment right before it, without its brackets."""


class Page:
    """One Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = os.path.relpath(path, ROOT)
        self._tokens = _MARKDOWN.parse(path.read_text(encoding="utf-8"))

    def __str__(self) -> str:
        return self.name

    def blocks(self, *languages: str) -> list[Block]:
        """Fenced blocks of these languages, or all."""
        found, marker = [], ""
        for token in self._tokens:
            if token.type == "fence":
                found.append(Block(token.info.strip(), token.content, (token.map or [0])[0] + 1, marker))
            marker = token.content.strip().removeprefix("<!--").removesuffix("-->").strip() * (
                token.type == "html_block"
            )
        return [block for block in found if not languages or block.language in languages]

    def spoken(self) -> list[str]:
        """What stands in the text as code."""
        return [token.content for token in self._inline() if token.type == "code_inline"]

    def headings(self) -> list[str]:
        """The headings, in order."""
        pairs = zip(self._tokens, self._tokens[1:], strict=False)
        return [_shown(inline) for opening, inline in pairs if opening.type == "heading_open"]

    def anchors(self) -> set[str]:
        """Where links may lead within the page: each heading as GitHub names it."""
        found: set[str] = set()
        for heading in self.headings():
            name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            count = next(n for n in range(1000) if (f"{name}-{n}" if n else name) not in found)
            found.add(f"{name}-{count}" if count else name)
        return found

    def links(self) -> list[str]:
        """Where its links and pictures lead."""
        hrefs = [str(token.attrs[name]) for token in self._inline() for name in ("href", "src") if name in token.attrs]
        raw = [token.content for token in (*self._tokens, *self._inline()) if token.type.startswith("html")]
        return hrefs + [link for html in raw for link in re.findall(r'(?:href|src)="([^"]+)"', html)]

    def _inline(self) -> Iterator[Token]:
        for token in self._tokens:
            yield from token.children or ()


def pages() -> list[Page]:
    """Every page of the repository."""
    return [Page(path) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("k8s/**/*.md")])]


def commands(script: str) -> list[str]:
    """The commands of a block, in order: lines, joined where the shell would read on. Raises ValueError for half a command."""
    found, pending = [], ""
    for line in script.splitlines():
        pending += f"{line}\n"
        if line.endswith("\\") or not _is_whole(pending):
            continue
        if shlex.split(pending, comments=True) or "<<" in pending:
            found.append(pending.strip())
        pending = ""
    if pending:
        raise ValueError(f"half a command: {pending}")
    return found


def words(command: str) -> list[str]:
    """The words of a simple command, without what it sets for itself before."""
    split = shlex.split(command.partition("<<")[0], comments=True)
    while split and _ASSIGNMENT.match(split[0]):
        split.pop(0)
    return split


@cache
def _is_whole(text: str) -> bool:
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    return done.returncode == 0 and not done.stderr


def _shown(inline: Token) -> str:
    return "".join(token.content for token in inline.children or () if token.type in ("text", "code_inline"))

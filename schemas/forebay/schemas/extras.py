"""What to install where a package is missing."""

from __future__ import annotations


def needs(what: str, extra: str) -> str:
    """The line that says so: what needs it, and the command to type."""
    return f"{what} needs more than was installed: pip install 'forebay[{extra}]'"

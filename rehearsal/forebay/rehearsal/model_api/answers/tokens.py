"""An offline token estimate, the same for the same text."""

from __future__ import annotations

LATIN_CHARS_PER_TOKEN = 4
MESSAGE_TOKENS = 4
"""What the framing of one message costs."""


def estimate(text: str) -> int:
    """Tokens of a text: one per four narrow characters, one per character of a wide script (CJK)."""
    if text.isascii():
        return -(-len(text) // LATIN_CHARS_PER_TOKEN)
    # A CJK character takes three UTF-8 bytes, so half the surplus of bytes counts them without a scan in Python.
    wide = min((len(text.encode("utf-8", "replace")) - len(text)) // 2, len(text))
    return wide - (-(len(text) - wide) // LATIN_CHARS_PER_TOKEN)


def cut_to(text: str, tokens: int) -> str:
    """The longest head of a text that is estimated at no more than `tokens`."""
    if estimate(text) <= tokens:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if estimate(text[:middle]) <= tokens else (low, middle - 1)
    return text[:low]

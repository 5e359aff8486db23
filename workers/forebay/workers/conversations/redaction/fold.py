"""Folding: full-width characters, dashes and spaces become plain ones, one for one, so that positions stay."""

from __future__ import annotations

import re

_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_WIDE = "＃（）＋－．＠＿［］０１２３４５６７８９" + "".join(
    chr(code) for code in (*range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))
)
_TABLE = (
    dict.fromkeys(map(ord, _SPACES), " ")
    | dict.fromkeys(map(ord, _DASHES), "-")
    | {ord(wide): chr(ord(wide) - 0xFEE0) for wide in _WIDE}
)
_FOLDABLE = re.compile(f"[{_SPACES}{_DASHES}{re.escape(_WIDE)}]")


def fold(text: str) -> str:
    """The text as the rules read it, of the same length."""
    return text.translate(_TABLE) if not text.isascii() and _FOLDABLE.search(text) else text

"""E-mail addresses, as people write them: ASCII only, so that the Chinese around them stays."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .personal_data import PersonalData

_DOMAIN = re.compile(r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9])")
_LOCAL_REVERSED = re.compile(r"[A-Za-z0-9_%+](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+])?")
"""A local part begins and ends with no dot, hyphen: those are the sentence's."""


def find_emails(text: str) -> Iterator[PersonalData]:
    """From each domain back to where its local part begins: looking from the left would be quadratic."""
    for domain in _DOMAIN.finditer(text):
        at = domain.start()
        local = _LOCAL_REVERSED.match(text[max(0, at - 64) : at][::-1])
        if local:
            yield PersonalData(at - local.end(), domain.end(), "EMAIL")

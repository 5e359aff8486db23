"""The vault: which placeholder stands for which value in one conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .placeholder import KIND


class Vault:
    """The values of one conversation by the names of their placeholders. Immutable; the same value keeps its name for ever.

    Store it beside the conversation, as ``to_json()`` has it: ``{"PHONE_1": "13800138000", "PHONE_2": None}``. ``None`` is a
    name that the customer used in a text of their own: it is nobody's data and is never given to a value.
    """

    __slots__ = ("_names", "_values")

    def __init__(self, values: Mapping[str, str | None] | None = None) -> None:
        self._values = dict(values or {})
        self._names = {value: name for name, value in self._values.items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, str | None]) -> Vault:
        """The vault that ``to_json`` gave. Raises ValueError where a name is no placeholder's."""
        for name in stored:
            kind, _, number = name.rpartition("_")
            if not KIND.fullmatch(kind) or not number.isdecimal():
                raise ValueError(f"{name!r} is no placeholder's name; it reads like 'PHONE_1'")
        return cls(stored)

    def to_json(self) -> dict[str, str | None]:
        return dict(self._values)

    def value(self, name: str) -> str | None:
        return self._values.get(name)

    def name(self, value: str) -> str | None:
        return self._names.get(value)

    def values(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vault) and self._values == other._values

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        """Names only: a vault in a log must not tell what it hides."""
        return f"Vault({', '.join(self._values)})"


class Naming:
    """Names given while one text is redacted: a vault, and what is new."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._new: dict[str, str | None] = {}
        self._names: dict[str, str] = {}
        self._last: dict[str, int] = {}

    def name(self, value: str, kind: str) -> str:
        """The value's name: the one it has, or the next of its kind."""
        known = self._vault.name(value) or self._names.get(value)
        if known:
            return known
        number = self._last.get(kind, 0) + 1
        while f"{kind}_{number}" in self._vault or f"{kind}_{number}" in self._new:
            number += 1
        self._last[kind] = number
        name = f"{kind}_{number}"
        self._new[name] = value
        self._names[value] = name
        return name

    def keep_free(self, name: str) -> None:
        """No value gets this name: a text has it already."""
        if name not in self._vault:
            self._new.setdefault(name, None)

    def values(self) -> list[str]:
        """All values, in the order they came."""
        return [*self._vault.values(), *self._names]

    def vault(self) -> Vault:
        """The vault itself when nothing is new."""
        return Vault(self._vault.to_json() | self._new) if self._new else self._vault

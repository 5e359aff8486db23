"""The completion map: which offsets above the committed one are done, encoded in the commit's metadata string.

Kafka keeps one offset a partition, the lowest not done. Turns finish out of order, so what lies done above it is
written beside it; after a crash or a rebalance those turns are not called again. The idea is Confluent's Parallel
Consumer's; the format is our own:

    ``sw1`` + kind + base64url(CRC-32 + body)

with kind ``r`` (run lengths as LEB128 varints, alternating not done and done), ``b`` (bitset, 1 is done) or ``z`` (the
bitset deflated), whichever is shortest. The checksum covers the base offset too: a map beside another offset than its
own would lose turns, so it is refused.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

MAX_METADATA = 4096
"""Characters of metadata a broker takes by default (``offset.metadata.max.bytes``)."""

_MARK = "sw1"
_MAX_SPAN = 1 << 22
_MAX_UNDONE = 1 << 20


class CompletionMapError(ValueError):
    """The metadata is not a completion map of this offset: foreign, damaged or absurd."""


class CompletionMap(NamedTuple):
    """The offsets from the committed one up to `end`: all are done except `undone`."""

    undone: tuple[int, ...]
    """Ascending; the first is the committed offset itself."""
    end: int
    """One past the highest offset known to be done."""


def encode(undone: Sequence[int], end: int, limit: int = MAX_METADATA) -> str:
    """Metadata saying that of ``undone[0] .. end-1`` all are done but the offsets in ``undone`` (ascending).

    Empty when nothing above the base is done. What does not fit in ``limit`` characters is left out from the top: those
    turns are then known only by their stored replies.
    """
    base, runs = undone[0], _runs(undone, end)
    while runs:
        kind, body = min(_bodies(runs), key=lambda candidate: len(candidate[1]))
        packed = _MARK + kind + base64.urlsafe_b64encode(_checksum(kind, base, body) + body).decode()
        if len(packed) <= limit:
            return packed
        runs = runs[: len(runs) // 4 * 2]  # whole pairs, so that it still ends with a run of done ones
    return ""


def decode(base: int, metadata: str, log_end: int | None = None) -> CompletionMap:
    """The map committed with offset ``base``, of a log that ends at ``log_end``. Raises CompletionMapError."""
    if not metadata:
        return CompletionMap((), base)
    if not metadata.startswith(_MARK) or len(metadata) <= len(_MARK):
        raise CompletionMapError("not a completion map of this version")
    kind = metadata[len(_MARK)]
    try:
        packed = base64.b64decode(metadata[len(_MARK) + 1 :].encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise CompletionMapError(f"damaged: {error}") from None
    checksum, body = packed[:4], packed[4:]
    if checksum != _checksum(kind, base, body):
        raise CompletionMapError("damaged, or written for another offset")
    unpacked = _unpack(base, kind, body)
    if log_end is not None and unpacked.end > log_end:
        raise CompletionMapError(f"it reaches {unpacked.end}, beyond the log's end at {log_end}")
    return unpacked


def _runs(undone: Sequence[int], end: int) -> list[int]:
    """Lengths of alternating runs, not done first, ending with a run of done offsets."""
    runs: list[int] = []
    start = undone[0]
    for offset, following in pairwise((*undone, max(end, undone[-1] + 1))):
        if following != offset + 1:
            runs += (offset + 1 - start, following - offset - 1)
            start = following
    return runs


def _bodies(runs: Sequence[int]) -> Iterable[tuple[str, bytes]]:
    lengths = b"".join(map(_varint, runs))
    yield "r", lengths
    span = sum(runs)
    if span > _MAX_SPAN or (len(lengths) < span // 8 and len(lengths) < MAX_METADATA // 2):
        return
    bits, at = 0, 0
    for index, length in enumerate(runs):
        if index % 2:
            bits |= ((1 << length) - 1) << at
        at += length
    bitset = bits.to_bytes((at + 7) // 8, "little")
    yield "b", bitset
    yield "z", zlib.compress(bitset, 1)


def _unpack(base: int, kind: str, body: bytes) -> CompletionMap:
    if kind == "r":
        return _from_runs(base, _varints(body))
    if kind == "z":
        inflate = zlib.decompressobj()
        try:
            body = inflate.decompress(body, _MAX_SPAN // 8)
        except zlib.error as error:
            raise CompletionMapError(f"damaged: {error}") from None
    elif kind != "b":
        raise CompletionMapError(f"unknown kind {kind!r}")
    done = int.from_bytes(body, "little")
    end = done.bit_length()
    if end - done.bit_count() > _MAX_UNDONE:
        raise CompletionMapError("absurd bitset")
    undone = tuple(base + offset for offset in range(end) if not body[offset >> 3] >> (offset & 7) & 1)
    return CompletionMap(undone, base + end)


def _from_runs(base: int, runs: Sequence[int]) -> CompletionMap:
    if sum(runs[::2]) > _MAX_UNDONE or len(runs) % 2:
        raise CompletionMapError("absurd run lengths")
    undone: list[int] = []
    at = base
    for index, length in enumerate(runs):
        if index % 2 == 0:
            undone += range(at, at + length)
        at += length
    return CompletionMap(tuple(undone), at)


def _checksum(kind: str, base: int, body: bytes) -> bytes:
    return zlib.crc32(kind.encode() + base.to_bytes(8, "big") + body).to_bytes(4, "big")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varints(body: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
        elif shift > 28:
            raise CompletionMapError("absurd run length")
    if shift:
        raise CompletionMapError("damaged: it ends within a number")
    return numbers

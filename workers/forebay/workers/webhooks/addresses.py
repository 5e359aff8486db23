"""Addresses: those that a webhook must not reach, checked for each connection after DNS has answered."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """The name of a server leads to an address inside our own networks."""


def inward(host: str) -> str | None:
    """What is wrong with an IP address as the host of a webhook; None for any other, and for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "localhost" if host.lower().rstrip(".") in ("localhost",) else None
    for each in (address, *_inside(address)):
        if not each.is_global or each.is_multicast:
            return f"the address {host}, which is not on the internet"
    return None


def public_socket(address: Sequence[Any]) -> socket.socket:
    """A socket for an address on the internet; ``address`` is one of `socket.getaddrinfo`. Raises PrivateAddressError."""
    host = str(address[4][0])
    if why := inward(host):
        raise PrivateAddressError(f"its name leads to {why}: set allow_private = true if that is meant")
    return any_socket(address)


def any_socket(address: Sequence[Any]) -> socket.socket:
    """A socket for any address."""
    return socket.socket(address[0], address[1], address[2])


def _inside(address: Address) -> Sequence[Address]:
    """The IPv4 addresses that are written inside an IPv6 one, to which routers may translate it."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    teredo = address.teredo
    found = [address.ipv4_mapped, address.sixtofour, *(teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]

"""The socket that a server of ours listens on, and the addresses at both of its ends."""

from __future__ import annotations

import ipaddress
import socket


def listen(host: str, port: int, backlog: int | None = None) -> socket.socket:
    """Listen on an address; answers leave at once.

    asyncio switches Nagle's algorithm off for sockets that it opens by itself, not for one like
    this, whose protocol number is left at 0. With it on, an answer's body waits until its head was
    acknowledged, which the other side puts off for 40 ms. Connections inherit the setting.

    Args:
        host: an IPv4 or IPv6 address, or a name.
        port: 0 chooses a free one.
        backlog: connections that may wait to be accepted; the system's own default if not given.

    Raises OSError when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=backlog)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket, host: str, tls: bool) -> str:
    """The address of a server that was told to listen on ``host``."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{listener.getsockname()[1]}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def network_of(address: str) -> str:
    """An IPv4 address, or the /64 network of an IPv6 address: whoever has one has all of it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)

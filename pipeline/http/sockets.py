"""The socket that a server of ours listens on."""

from __future__ import annotations

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

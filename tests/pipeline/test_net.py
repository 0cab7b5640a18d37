"""The socket that servers listen on."""

from __future__ import annotations

import socket

import pytest

from pipeline.net import listen


def test_answers_leave_at_once() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            connection, _ = listener.accept()
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.slow
def test_an_address_that_is_taken_is_refused() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        pytest.raises(OSError, match=r"[Aa]ddress already in use|10048|10013"),
    ):
        listen("127.0.0.1", listener.getsockname()[1])

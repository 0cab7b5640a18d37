"""The way to a PostgreSQL server: made when it is needed, given up when it breaks, made again.

When the server goes away, whoever asks is told so at once, and the way back is tried with growing
pauses.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection as Link

from faces.errors import UserError
from recognizer.store.address import PostgresAddress
from recognizer.store.database import StoreUnreachable
from recognizer.store.schema import BUSY_SECONDS

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0  # a server that says nothing for so long is taken for lost
PAUSES = 0.2, 5.0  # seconds before the second try to connect, and at most
ROWS_AT_A_TIME = 200  # that are copied go over the wire together

_AWAY = ("08", "57P", "53300", "25P03")  # no server, going down, starting, too many connections
_BROKEN = (InterfaceError, OSError, struct.error, IndexError)  # what a link that ends gives


class Rows:
    """What a statement gave."""

    def __init__(self, rows: list[Any] | None, count: int) -> None:
        self._rows, self.rowcount = iter(rows or ()), count

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        """The next row, None at the end."""
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        """The rest."""
        return list(self._rows)


class Connection:
    """A link to the server that is made again when it broke, though never within a transaction.

    Raises StoreUnreachable, at once when the server has just been tried in vain.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.in_transaction = False
        self._link, self._socket = server.link()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """One statement; outside of a transaction it is tried once more over a new link."""
        if self._link is not None:
            retry = not self.in_transaction
            try:
                return self.run(sql, parameters)
            except StoreUnreachable:
                if not retry:
                    raise
        self._link, self._socket = self._server.link()
        return self.run(sql, parameters)

    def run(
        self, sql: str, parameters: Sequence[Any] = (), copied: Iterable[str] | None = None
    ) -> Rows:
        """One statement over the link as it is; ``copied`` is what a COPY takes."""
        link = self._link
        if link is None:
            raise self._server.lost("the connection is closed")
        parts = sql.split("?")
        if len(parts) != len(parameters) + 1:
            raise ValueError(f"{len(parameters)} parameters for: {sql}")
        text = parts[0] + "".join(f":p{i}{part}" for i, part in enumerate(parts[1:]))
        try:
            values = {f"p{i}": value for i, value in enumerate(parameters)}
            rows = link.run(text, stream=copied, **values)
        except DatabaseError as error:
            if state_of(error).startswith(_AWAY) or facts_of(error).get("S") in ("FATAL", "PANIC"):
                self.close()
                raise self._server.lost(facts_of(error).get("M", "")) from error
            raise
        except BaseException as error:
            self.close()  # an answer that was read in part would be taken for that of the next one
            if not isinstance(error, _BROKEN):
                raise
            if sql == "COMMIT":
                raise StoreUnreachable(
                    f"{self._server.address} went away while it was changed: the change was made "
                    "wholly or not at all; look which before you repeat it",
                    in_doubt=True,
                ) from error
            raise self._server.lost(str(error)) from error
        return Rows(rows, link.row_count)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """One statement for each row; rows that are inserted are copied, within a transaction."""
        insert = _INSERT.fullmatch(sql)
        if insert is None:
            for row in parameters:
                self.execute(sql, row)
            return
        lines = ("\t".join(map(_copied, row)) + "\n" for row in parameters)
        parts = iter(lambda: "".join(islice(lines, ROWS_AT_A_TIME)), "")
        self.run(f"COPY {insert[1]} FROM STDIN", (), parts)

    def readable(self, seconds: float) -> bool:
        """Whether the server has sent something without being asked, within so many seconds."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    @property
    def notified(self) -> bool:
        """Whether one of the notifications listened to has come since the last look."""
        notes = [] if self._link is None else self._link.notifications
        count = len(notes)
        notes.clear()
        return count > 0

    def close(self) -> None:
        """The server undoes what was not committed."""
        link, self._link, self.in_transaction = self._link, None, False
        if link is not None:
            with suppress(Exception):
                link.close()


_INSERT = re.compile(r"INSERT INTO (\w+(?: \([\w, ]+\))?) VALUES \((?:\?, )*\?\)")
_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _copied(value: object) -> str:
    """A value as COPY reads it."""
    if value is None:
        return r"\N"
    if isinstance(value, bytes):
        return rf"\\x{value.hex()}"
    return str(value).translate(_ESCAPED)


class Server:
    """Where links lead to; all that belong to one store share what is known about it."""

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self._trying = threading.Lock()
        self._why, self._pause, self._not_before = "", 0.0, 0.0

    def link(self) -> tuple[Link, socket.socket]:
        """A new link. Raises StoreUnreachable, and what `explained` makes of a refusal."""
        with self._trying:
            left = self._not_before - time.monotonic()
            if left > 0:
                raise self.lost(self._why)
            try:
                found = self._dial()
            except (*_BROKEN, DatabaseError) as error:
                away = not isinstance(error, DatabaseError) or state_of(error).startswith(_AWAY)
                self._why = facts_of(error).get("M", "") or str(error)
                self._pause = min(max(2 * self._pause, PAUSES[0]), PAUSES[1])
                self._not_before = time.monotonic() + self._pause
                if away:
                    raise self.lost(self._why) from error
                raise
            self._pause = self._not_before = 0.0
            return found

    def lost(self, why: str) -> StoreUnreachable:
        """What to raise when the server does not answer."""
        left = max(1.0, self._not_before - time.monotonic())
        return StoreUnreachable(
            f"{self.address} cannot be reached{f' ({why})' if why else ''}: nothing was changed; "
            "is the server running, and the address right?",
            left,
        )

    def _dial(self) -> tuple[Link, socket.socket]:
        address = self.address
        if address.is_local:
            raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            raw.settimeout(CONNECT_SECONDS)
            raw.connect(f"{address.host}/.s.PGSQL.{address.port}")
        else:
            raw = socket.create_connection((address.host, address.port), CONNECT_SECONDS)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
                if hasattr(socket, name):  # a machine that vanished is noticed after 25 s
                    raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        try:
            raw = _encrypted(raw, address)
            link = Link(
                address.user,
                address.host,
                address.name,
                address.port,
                address.password(),
                ssl_context=False,  # it is encrypted already
                application_name="faces",
                sock=raw,
                startup_params={
                    "search_path": "faces",
                    "client_encoding": "UTF8",
                    "lock_timeout": f"{BUSY_SECONDS:g}s",
                    # A writer that hangs does not keep the others out for ever.
                    "idle_in_transaction_session_timeout": f"{ANSWER_SECONDS:g}s",
                },
            )
            raw.settimeout(ANSWER_SECONDS)
            # What was reported as stored is on the server's disk, however it was set up.
            link.run(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
        except BaseException:
            raw.close()
            raise
        return link, raw


def _encrypted(raw: socket.socket, address: PostgresAddress) -> socket.socket:
    """``raw``, or TLS over it where the server offers that and the address does not forbid it.

    pg8000 would read the system's authorities for every link, 20 ms, only to check nothing.
    """
    if address.is_local or address.ssl_mode == "disable":
        return raw
    raw.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest
    if raw.recv(1) == b"S":
        return _tls(address).wrap_socket(raw, server_hostname=address.host)
    if address.ssl_mode != "prefer":
        raise InterfaceError("Server refuses SSL")
    return raw


def _tls(address: PostgresAddress) -> ssl.SSLContext:
    """Checks the server's certificate only where the address asks for it."""
    if address.ssl_mode == "verify-full":
        try:
            return ssl.create_default_context(cafile=address.ssl_root)
        except OSError as error:
            raise UserError(f"sslrootcert {address.ssl_root} cannot be read: {error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def facts_of(error: BaseException) -> dict[str, str]:
    """What the server says: C is the SQLSTATE, M the message, S how bad it is."""
    given = error.args[0] if error.args else None
    return given if isinstance(given, dict) else {}


def state_of(error: BaseException) -> str:
    return facts_of(error).get("C", "")

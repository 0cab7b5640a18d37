"""Where people are kept: a file's path, or ``postgresql://user@host/database``.

An address never shows its password: not as text, not in a repr, not in a message. The password may
stand in it, in PGPASSWORD, or in the file ~/.pgpass that all PostgreSQL programs read; only the
last two are hidden from those who list this machine's processes.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from faces.errors import UserError

log = logging.getLogger(__name__)

SSL_MODES = ("disable", "prefer", "require", "verify-full")
"""As libpq names them: never, where the server offers it, always, and with its certificate checked
against ``sslrootcert`` or the system's authorities."""

_KNOWN = ("host", "port", "user", "password", "sslmode", "sslrootcert")
_SOCKETS = "/var/run/postgresql"  # where Debian's and Red Hat's servers listen


class PostgresAddress:
    """A database; what the address leaves out is as for `psql`.

    Args:
        text: ``postgresql://[user[:password]@][host][:port]/[database][?sslmode=...]``; a host
            that begins with ``/`` (``?host=/run/postgresql``) is the folder of a local socket.

    Attributes:
        host, port, user, name: of the server, and the database's name.
        ssl_mode, ssl_root: see `SSL_MODES`.

    Raises UserError for an address that cannot be; its text is not repeated, as it may hold a
    password.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = urlsplit(text)
            port = parts.port
            query = parts.query
            given = dict(parse_qsl(query, strict_parsing=True)) if query else {}
        except ValueError:
            raise UserError(
                "the address of the gallery cannot be read: expected "
                "postgresql://user@host:5432/database; write / @ : of a password as %2F %40 %3A"
            ) from None
        unknown = sorted(given.keys() - set(_KNOWN))
        if unknown or parts.fragment:
            raise UserError(
                f"the address of the gallery holds {unknown[0] if unknown else '#'}; known are "
                f"{', '.join(_KNOWN)}"
            )
        port_text = given.get("port") or str(port or os.environ.get("PGPORT") or 5432)
        if not port_text.isdecimal() or not 0 < int(port_text) < 65536:
            raise UserError("the port in the address of the gallery must be from 1 to 65535")
        self.port = int(port_text)
        local = _SOCKETS if Path(_SOCKETS).is_dir() else "localhost"
        host = given.get("host") or unquote(parts.hostname or "")
        self.host: str = host or os.environ.get("PGHOST") or local
        user = given.get("user") or unquote(parts.username or "")
        self.user: str = user or os.environ.get("PGUSER") or _system_user()
        name = unquote(parts.path.lstrip("/"))
        self.name: str = name or os.environ.get("PGDATABASE") or self.user
        self.ssl_mode = given.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
        if self.ssl_mode not in SSL_MODES:
            raise UserError(f"sslmode of the gallery must be one of {', '.join(SSL_MODES)}")
        self.ssl_root = given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
        self._password = given.get("password") or unquote(parts.password or "")

    @staticmethod
    def from_text(text: str) -> Place:
        """See `place`: what a configuration file says is read as a flag is."""
        return place(text)

    @property
    def is_local(self) -> bool:
        """Whether ``host`` is the folder of a socket."""
        return self.host.startswith("/")

    def password(self) -> str:
        """Of the address, PGPASSWORD or ~/.pgpass; empty where there is none."""
        return self._password or os.environ.get("PGPASSWORD") or self._from_file()

    def __str__(self) -> str:
        """Without the password, good for another command."""
        query = {"sslmode": self.ssl_mode, "sslrootcert": self.ssl_root or ""}
        where = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == 5432 else str(self.port)
        if self.is_local:
            query, where, port = {"host": self.host, "port": port}, "", ""
        elif self.ssl_mode == "prefer":
            del query["sslmode"]
        rest = "&".join(f"{key}={value}" for key, value in query.items() if value)
        where += f":{port}" if port else ""
        return f"postgresql://{self.user}@{where}/{self.name}{'?' if rest else ''}{rest}"

    def __repr__(self) -> str:
        return f"PostgresAddress({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresAddress) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def _from_file(self) -> str:
        """The first line of ~/.pgpass that fits: host:port:database:user:password."""
        windows = Path(os.environ.get("APPDATA", "")) / "postgresql" / "pgpass.conf"
        usual = windows if os.name == "nt" else Path.home() / ".pgpass"
        path = Path(os.environ.get("PGPASSFILE") or usual)
        try:
            if os.name != "nt" and path.stat().st_mode & 0o077:
                log.warning("%s is not read: others may read it (chmod 600)", path)
                return ""
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeError):
            return ""
        wanted = ("localhost" if self.is_local else self.host, str(self.port), self.name, self.user)
        for line in lines:
            fields = [re.sub(r"\\(.)", r"\1", f) for f in re.split(r"(?<!\\):", line)]
            if len(fields) == 5 and all(
                f in ("*", w) for f, w in zip(fields[:4], wanted, strict=True)
            ):
                return fields[4]
        return ""


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # of a container that has no name for its user
        raise UserError(
            "the address of the gallery names no user, and the system has no name for this one: "
            "give postgresql://user@host/database, or PGUSER"
        ) from None


Place = Path | PostgresAddress
"""Where people are kept."""


def place(where: str | Path | PostgresAddress) -> Place:
    """What a user names with ``--gallery``: a file, or a database.

    Raises UserError for an address that is none, without repeating it.
    """
    if isinstance(where, PostgresAddress):
        return where
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", str(where))
    if found is None:
        return Path(where)
    if isinstance(where, Path):  # it has made one slash of two
        raise UserError("give the address of a gallery as text, not as a Path")
    if found[1].lower() not in ("postgresql", "postgres") or "://" not in where:
        raise UserError(
            f"a gallery is a file or postgresql://user@host/database, not {found[1]}:..."
        )
    return PostgresAddress(where)

"""Who was enrolled or removed, when, by which key: a log that only grows, and shows tampering.

A line is a JSON object with the authentication code (HMAC-SHA-256) of itself and of the code of the
line before, so that no line can be changed, taken out or put in without the key. Cutting off the
end cannot be seen in the file alone: note the code of the last line elsewhere now and then.

People are pseudonyms (HMAC of the name), so that the log of a removal keeps no name; whoever has
the key and a name can look for it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faces.errors import UserError
from pipeline.service.runtime.file_locks import hold

logger = logging.getLogger(__name__)

START = "0" * 64  # what the first line has in place of the code before
MAX_LINE = 10_000


class AuditLog:
    """Appends; safe for threads, and one process at a time may hold a file open.

    Args:
        path: made with its key, ``path`` + ".key", when missing; both private to their owner.

    Raises UserError when it is damaged, held by another process, or cannot be made or written. A
    line that a crash left unfinished is cut off, and a line says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.Lock()
        try:
            self._open()
        except OSError as error:
            raise UserError(
                f"the audit log {path} cannot be opened: {error}; give another path"
            ) from error

    def _open(self) -> None:
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        real = Path(os.path.realpath(path))  # one lock, by whatever link it is called
        holder = hold(real.with_name(real.name + ".lock"))
        if holder is None:
            raise UserError(
                f"another server writes to the audit log {path}: stop it, or give this one another"
            )
        self._holder = holder
        self._key = _read_or_make_key(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        verdict = verify(path)
        if verdict.problem is not None:
            self.close()
            raise UserError(f"{path}: {verdict.problem}; look into it, then move the file away")
        self._count, self._last = verdict.lines, verdict.last
        if verdict.unfinished:
            os.ftruncate(self._descriptor, verdict.whole_bytes)
            logger.warning("the audit log ended in an unfinished line, which was cut off")
            self.append("cut", bytes=verdict.unfinished)

    def append(self, action: str, person: str | None = None, **facts: Any) -> None:
        """One line, on the disk when this returns. Raises OSError when it cannot be written.

        Args:
            person: the name; only its pseudonym is written.
            facts: more fields; must hold nothing personal.
        """
        with self._mutex:
            entry: dict[str, Any] = {
                "n": self._count + 1,
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "action": action,
            }
            if person is not None:
                entry["person"] = pseudonym(self._key, person)
            entry |= facts
            code = _code(self._key, self._last, entry)
            line = json.dumps(entry | {"code": code}).encode() + b"\n"
            size = os.fstat(self._descriptor).st_size
            try:
                if os.write(self._descriptor, line) != len(line):
                    raise OSError("no space left for a whole line of the audit log")
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, size)
                raise
            self._count, self._last = self._count + 1, code

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
        self._holder.close()


@dataclass(frozen=True)
class Verdict:
    """What `verify` found."""

    lines: int  # that are whole and in order, up to the problem
    last: str  # the code of the last of them
    problem: str | None = None  # what is wrong; None when nothing is
    unfinished: int = 0  # bytes after the last line's end, which a crash may leave
    whole_bytes: int = 0  # length of the good lines


def verify(path: Path) -> Verdict:
    """Check every line of a log. Raises UserError when it or its key cannot be read."""
    if not path.exists():
        raise UserError(f"there is no audit log {path}; `faces serve` writes it beside the gallery")
    key = _read_key(path)
    count, last, size = 0, START, 0
    try:
        with path.open("rb") as file:
            while raw := file.readline(MAX_LINE):
                if not raw.endswith(b"\n") and len(raw) < MAX_LINE:
                    return Verdict(count, last, None, len(raw), size)
                problem, code = _check_line(raw, count + 1, last, key)
                if problem is not None:
                    return Verdict(count, last, f"line {count + 1} {problem}", 0, size)
                count, last, size = count + 1, code, size + len(raw)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return Verdict(count, last, None, 0, size)


def entries(path: Path, person: str | None = None) -> Iterator[dict[str, Any]]:
    """The entries of a log that is in order, or only those of one person's name.

    Args:
        path: an unfinished line at its end, which a crash may leave, is no entry.
        person: as `recognizer.names.clean_name` gives it.
    """
    wanted = None if person is None else pseudonym(_read_key(path), person)
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            entry = json.loads(raw)
            if wanted is None or entry.get("person") == wanted:
                yield entry


def pseudonym(key: bytes, name: str) -> str:
    """What stands for a name: 16 hexadecimal digits."""
    return hmac.new(key, b"person\0" + name.encode(), hashlib.sha256).hexdigest()[:16]


def _check_line(raw: bytes, number: int, last: str, key: bytes) -> tuple[str | None, str]:
    try:
        entry = json.loads(raw)
        code = entry.pop("code")
        if not isinstance(code, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "is no line of an audit log", ""
    if entry.get("n") != number:
        return f"has the number {entry.get('n')!r}: lines are missing or were put in", ""
    if not hmac.compare_digest(code.encode(), _code(key, last, entry).encode()):
        return "was changed, or the line before it, or the key is another", ""
    return None, code


def _code(key: bytes, last: str, entry: dict[str, Any]) -> str:
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, f"line\0{last}\0{text}".encode(), hashlib.sha256).hexdigest()


def _key_path(path: Path) -> Path:
    return path.with_name(path.name + ".key")


def _read_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(_key_path(path).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise UserError(f"the key {_key_path(path)} of the audit log cannot be read") from error
    if len(key) != 32:
        raise UserError(f"the key {_key_path(path)} of the audit log is damaged")
    return key


def _read_or_make_key(path: Path) -> bytes:
    if not _key_path(path).exists():
        if path.exists() and path.stat().st_size:
            raise UserError(f"the audit log {path} has lost its key {_key_path(path)}")
        descriptor = os.open(_key_path(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
    return _read_key(path)

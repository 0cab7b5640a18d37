"""Keys of callers: who may ask for what. Only their hashes are stored.

A key is ``faces_<id>_<secret>``. The secret has 256 random bits, so nobody can guess it from its
hash however quick the hash is: SHA-256 is enough. Slow hashes (bcrypt, argon2) protect passwords,
which people choose; here they would only cost time for every request.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from faces.errors import UserError
from faces.files import atomic_write_text
from pipeline.service.runtime.file_locks import hold
from pipeline.service.runtime.logs import trace

logger = logging.getLogger(__name__)

SCOPES = ("detect", "recognize", "enroll", "admin", "metrics")
CHECK_SECONDS = 1.0  # how long a revoked key may still work


@dataclass(frozen=True)
class Key:
    """What is stored of a key."""

    id: str  # public; stands for the key in logs
    label: str  # what its owner calls it
    scopes: tuple[str, ...]  # some of `SCOPES`
    # created, expires, revoked: seconds since 1970
    created: float
    expires: float | None
    revoked: float | None
    digest: str  # SHA-256 of the secret, hexadecimal

    @property
    def valid(self) -> bool:
        """Neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or time.time() < self.expires)


class KeyFile:
    """The keys on the disk; a server sees within a second what `faces keys` changes.

    Args:
        path: a JSON file, made when the first key is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._keys: dict[str, Key] = {}
        self._problem: str | None = None  # why nobody's key can be looked up
        self._stamp: tuple[int, int, int] | None = None
        self._checked = float("-inf")

    def all(self) -> list[Key]:
        """Every key there ever was, oldest first. Raises UserError for a damaged file."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            return [Key(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in data["keys"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"the keys {self.path} cannot be read: {error}") from error

    def create(self, label: str, scopes: Sequence[str], days: float | None = None) -> str:
        """A new key, which is shown only now. Raises UserError for an unknown scope."""
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            what = f"no scope {unknown[0]!r}" if unknown else "no key without a scope"
            raise UserError(f"there is {what}; take some of {', '.join(SCOPES)}")
        name, secret, now = secrets.token_hex(4), secrets.token_urlsafe(32), time.time()
        expires = None if days is None else now + days * 86_400
        key = Key(name, label, tuple(dict.fromkeys(scopes)), now, expires, None, _digest(secret))
        self._change(lambda keys: [*keys, key])
        return f"faces_{name}_{secret}"

    def revoke(self, name: str) -> Key:
        """Make a key worthless. Raises UserError when there is none of this id."""
        found = next((key for key in self.all() if key.id == name), None)
        if found is None:
            raise UserError(f"there is no key {name!r}; see `faces keys list`")
        revoked = found if found.revoked else replace(found, revoked=time.time())
        self._change(lambda keys: [revoked if key.id == name else key for key in keys])
        return revoked

    def find(self, token: str) -> Key | None:
        """The valid key that a caller shows, or None; takes the same time either way.

        Raises UserError while the file is damaged: who was revoked in it cannot be told.
        """
        self._reload()
        parts = token.split("_", 2)
        name, secret = (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "faces" else ("", "")
        key = self._keys.get(name)
        digest = _digest("") if key is None else key.digest
        same = hmac.compare_digest(digest.encode(), _digest(secret).encode())
        return key if key is not None and same and key.valid else None

    def _reload(self) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._checked >= CHECK_SECONDS:
                self._checked = now
                self._look()
            if self._problem is not None:
                raise UserError(self._problem)

    def _look(self) -> None:
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except OSError:
            stamp = (0, 0, 0)
        if stamp == self._stamp and self._problem is None:
            return
        try:
            self._keys, self._problem = {key.id: key for key in self.all()}, None
            self._stamp = stamp
        except UserError as error:
            self._problem = str(error)
            logger.error(
                "the keys cannot be read: nobody is let in", extra={"fields": trace(error)}
            )

    def _change(self, change: Callable[[list[Key]], list[Key]]) -> None:
        with self._alone():
            keys = change(self.all())
            text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1)
            try:
                atomic_write_text(self.path, text + "\n", private=True)
            except OSError as error:
                raise UserError(f"the keys {self.path} cannot be written: {error}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            # One lock, by whatever link the file is called.
            real = Path(os.path.realpath(self.path))
            real.parent.mkdir(parents=True, exist_ok=True)
            holder = hold(real.with_name(real.name + ".lock"), seconds=10)
        except OSError as error:
            raise UserError(
                f"the keys {self.path} cannot be written: {error}; name another file"
            ) from error
        if holder is None:
            raise UserError(f"another program has been writing to {self.path} for 10 s; try again")
        with holder:
            yield


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

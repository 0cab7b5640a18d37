"""Files that lie in buckets and on servers: ``s3://``, ``gs://``, ``http(s)://``, through fsspec.

Nothing here runs unless somebody gives an address. Who may read it is settled as each service's own
programs have it (AWS_PROFILE, AWS_ENDPOINT_URL, ~/.aws, GOOGLE_APPLICATION_CREDENTIALS, ...): no
secrets of ours.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from faces.errors import UserError
from faces.folders import in_threads
from pipeline.sources.captures import without_secrets

T = TypeVar("T")


class Unanswered(UserError):
    """What is at an address cannot be read just now."""


def is_address(text: str) -> bool:
    """Whether a text is an address and no path."""
    return "://" in text


def web_secrets(address: str) -> bool:
    """Whether a web address has in it what lets anybody in who has it, as signed ones have."""
    parts = urlsplit(address)
    names = [name.lower() for name, _ in parse_qsl(parts.query)]
    return parts.scheme in ("http", "https") and any(
        name in ("sig", "password", "token", "access_token")
        or name.endswith(("signature", "security-token"))
        for name in names
    )


def list_address(
    address: str, wanted: Callable[[str], bool]
) -> tuple[list[tuple[str, int, float]], bool]:
    """The files at an address: itself, what lies below it, or what matches its ``*``.

    Args:
        address: of a file, a folder (with ``/`` at its end on a web server, whose page of links is
            read) or a pattern.
        wanted: is asked for each name below a folder.

    Returns:
        Address, bytes and time of change (seconds since 1970) of each, -1 for what the server does
        not say, and whether they were searched for.

    Raises UserError for an address that cannot be used, is not there or may not be read.
    """
    system, path = _open(address)
    web = urlsplit(address).scheme in ("http", "https")

    def look() -> tuple[dict[str, Any], bool]:
        if any(sign in path for sign in ("*[" if web else "*?[")):
            return system.glob(path, detail=True), True
        found = None if web and path.endswith("/") else system.info(path)
        if found is None or found["type"] == "directory":
            return system.find(path, detail=True), True
        return {path: found}, False

    found, searched = _asked(address, look)
    kept = [
        (str(system.unstrip_protocol(name)), facts)
        for name, facts in sorted(found.items())
        if facts["type"] == "file" and (not searched or wanted(unquote(name)))
    ]
    if web and searched:  # a page of links says neither how large what they name is, nor how old

        def ask(name: str) -> dict[str, Any]:
            with suppress(Unanswered):  # it is said when it is looked at
                return _asked(address, lambda: system.info(name))
            return {}

        links = [name for name, _ in kept]
        facts = in_threads(ask, links, description="asking the server")
        kept = [(name, more) for (name, _), more in zip(kept, facts, strict=True)]
    return [
        (name, -1 if facts.get("size") is None else int(facts["size"]), _modified(facts))
        for name, facts in kept
    ], searched


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """What is at an address, as a file that is there within the block.

    Raises UserError when it cannot be read.
    """
    system, path = _open(address)
    suffix = PurePosixPath(urlsplit(address).path).suffix[:10]
    with tempfile.TemporaryDirectory(prefix="faces-") as folder:
        copy = Path(folder) / f"copy{suffix}"
        _asked(address, lambda: system.get_file(path, str(copy)))
        yield copy


def _open(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it."""
    name = without_secrets(address)
    if urlsplit(address).password or urlsplit(address).username:
        raise UserError(
            f"{name}: the address would be stored with the user and password in it: leave them "
            "out; a web server's go into ~/.netrc"
        )
    if web_secrets(address):
        raise UserError(
            f"{name}: the address would be stored with what signs it: leave that out, and let the "
            "service's own credentials open it (for a bucket, s3:// or gs://)"
        )
    import fsspec

    try:
        return fsspec.core.url_to_fs(address, **_options(urlsplit(address).scheme))
    except ImportError as error:
        extra = {"gs": "gcs", "gcs": "gcs"}.get(urlsplit(address).scheme, "remote")
        raise UserError(f"{name}: {error}: pip install 'faces[{extra}]'") from error
    except ValueError as error:
        raise UserError(f"{name}: {error}: give s3://, gs:// or http(s)://") from error
    except Exception as error:  # credentials that are there and no good, of whatever library
        if (key := _google_key(urlsplit(address).scheme)) is not None:
            raise UserError(
                f"{name}: GOOGLE_APPLICATION_CREDENTIALS names {key}, which Google's library "
                "cannot use: give the JSON file of a service account, or unset it"
            ) from error
        raise UserError(f"{name}: cannot be opened: {_first_line(error)}") from error


def _options(scheme: str) -> dict[str, Any]:
    """What fsspec is told: listings are asked for again."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme in ("http", "https"):  # user and password of a web server come from ~/.netrc
        return options | {"client_kwargs": {"trust_env": True}}
    if scheme in ("gs", "gcs") and os.environ.get("STORAGE_EMULATOR_HOST"):
        # As Google's own programs do, nobody is asked who we are. gcsfs asks over gRPC what kind a
        # bucket is, which emulators do not speak, and waits for a minute.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        return options | {"token": "anon"}
    if _google_key(scheme) is not None:
        # Without it gcsfs would pass over a file that is no good and ask as nobody.
        return options | {"token": "google_default"}
    return options if scheme in ("s3", "gs", "gcs") else {}


def _google_key(scheme: str) -> str | None:
    """The file of credentials that a user of Google's buckets has named."""
    return os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") if scheme in ("gs", "gcs") else None


def _asked(address: str, call: Callable[[], T]) -> T:
    """What a server answers. Whatever fsspec and the libraries below it raise is `Unanswered`."""
    try:
        return call()
    except UserError:
        raise
    except Exception as error:  # every service has exceptions of its own, botocore's without a base
        # fsspec says of a server that does not answer that there is no such file.
        first = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = _first_line(first)
        if isinstance(first, FileNotFoundError):
            reason = "there is no such file or folder"
        raise Unanswered(f"{without_secrets(address)}: cannot be read: {reason}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _modified(facts: dict[str, Any]) -> float:
    for key in ("LastModified", "Last-Modified", "mtime", "updated", "last_modified"):
        value = facts.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            for read in (parsedate_to_datetime, datetime.fromisoformat):
                with suppress(ValueError, OverflowError, OSError):
                    return read(value).timestamp()
    return -1.0

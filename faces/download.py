"""Downloading one file over HTTP, resumed where it was cut off and verified by its checksum."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from tqdm import tqdm

from faces.errors import UserError

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_MAX_WAIT = 60.0  # seconds between two attempts, whatever the server asks for
_DROPPED = (OSError, http.client.HTTPException)  # URLError and timeouts are OSErrors
_RETRY_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})


def download(
    url: str,
    path: Path,
    *,
    md5: str | None = None,
    sha1: str | None = None,
    sha256: str | None = None,
    attempts: int = 5,
    timeout: float = 30.0,
    backoff: float = 1.0,
) -> Path:
    """Download ``url`` to ``path``, which appears only when it is complete and verified.

    Args:
        url: http or https.
        path: the file to write. When it is there with the right checksum (or is there and no
            checksum is given), nothing is fetched.
        md5, sha1, sha256: the expected checksum in hex, of the whole file; at most one.
        attempts: how often in a row the server may fail before this gives up; an attempt that
            brought new bytes is not counted.
        timeout: seconds without a byte after which an attempt counts as failed.
        backoff: seconds before the second attempt; doubled for each further one.

    What arrived is kept as ``NAME.part`` and continued with a Range request, by this call or, when
    there is a checksum to prove that both parts fit, by a later one. A server that ignores Range
    is read from the start. Returns ``path``. Raises UserError when the server refuses, sends a web
    page in place of the file, keeps failing, or sends a file with another checksum, and when the
    disk is too small.
    """
    if not re.match(r"https?://[^/]", url):
        raise UserError(f"{url}: only http and https addresses can be downloaded")
    checksum = _Checksum.of(md5=md5, sha1=sha1, sha256=sha256)
    if path.exists() and (checksum is None or checksum.of_file(path) == checksum.expected):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if checksum is None:
        part.unlink(missing_ok=True)
    resumed = part.exists()
    _fetch(url, part, attempts, timeout, backoff)
    if checksum is not None and (found := checksum.of_file(part)) != checksum.expected:
        part.unlink()
        if resumed:  # the old beginning may be of another version
            log.warning("%s: the resumed file is damaged; starting again", url)
            return download(
                url,
                path,
                md5=md5,
                sha1=sha1,
                sha256=sha256,
                attempts=attempts,
                timeout=timeout,
                backoff=backoff,
            )
        raise UserError(
            f"{url}: the file has the {checksum.kind} {found}, expected {checksum.expected}; the "
            "server has another or a damaged file, so try another one"
        )
    part.replace(path)
    return path


@dataclass(frozen=True)
class _Checksum:
    kind: str
    expected: str

    @classmethod
    def of(cls, **given: str | None) -> _Checksum | None:
        known = [cls(kind, value.lower()) for kind, value in given.items() if value is not None]
        return known[0] if known else None

    def of_file(self, path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.kind).hexdigest()


class _Complete(Exception):
    """The server has nothing after what is there already."""


class _Interrupted(Exception):
    """An attempt failed in a way that another one may mend."""

    def __init__(self, reason: str, *, wait: float = 0.0, start_again: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.start_again = start_again


def _fetch(url: str, part: Path, attempts: int, timeout: float, backoff: float) -> None:
    """Bring ``part`` to its full length."""
    failures = 0
    validator = ""  # of the version of the file that `part` is the beginning of, where known
    while True:
        before = _size(part)
        try:
            with _request(url, before, validator, timeout) as response:
                validator = response.headers.get("ETag") or response.headers["Last-Modified"] or ""
                _receive(url, response, part)
            return
        except _Complete:
            return
        except _Interrupted as error:
            if error.start_again:
                part.unlink(missing_ok=True)
            failures = 0 if _size(part) > before else failures + 1
            if failures >= attempts:
                raise UserError(
                    f"{url}: {error}, {attempts} times in a row; {_size(part):,} bytes are kept in "
                    f"{part}, and the same command goes on from there"
                ) from error
            wait = min(max(backoff * 2**failures, error.wait), _MAX_WAIT)
            log.warning("%s: %s at %d bytes; again in %.1f s", url, error, _size(part), wait)
            time.sleep(wait)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _request(url: str, start: int, validator: str, timeout: float) -> http.client.HTTPResponse:
    """The server's answer to a request for everything from byte ``start`` on."""
    headers = {"User-Agent": "faces (urllib)", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator and not validator.startswith("W/"):
            headers["If-Range"] = validator  # a file that changed comes whole
    try:
        return _opener().open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                raise _Complete from error
            raise _Interrupted("the server's file is another one", start_again=True) from error
        if error.code in _RETRY_CODES:
            wait = error.headers.get("Retry-After") or ""
            seconds = float(wait) if wait.isdigit() else 0.0
            raise _Interrupted(f"the server answered {error.code}", wait=seconds) from error
        raise UserError(
            f"{url}: the server refused it ({error.code} {error.reason}); check the address, or "
            "whether it wants a login or has a quota"
        ) from error
    except _DROPPED as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise _Interrupted(f"no connection ({reason})") from error


def _receive(url: str, response: http.client.HTTPResponse, part: Path) -> None:
    """Append the answer to ``part``, or begin it again when the answer is the whole file."""
    start = _size(part) if response.status == 206 else 0
    given = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
    if response.status == 206 and (given is None or int(given[1]) != start):
        raise _Interrupted("the server went on at another byte than asked", start_again=True)
    length = response.headers.get("Content-Length") or ""
    total = start + int(length) if length.isdigit() else None
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise UserError(
            f"{part.parent}: {total - start:,} bytes are needed but only {free:,} are free"
        )
    chunks = _chunks(response)
    chunk = next(chunks, b"")
    _refuse_web_page(url, response.headers, chunk)  # before anything that is there is given up
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(
            total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=None
        ) as bar,
    ):
        while chunk:
            file.write(chunk)
            bar.update(len(chunk))
            chunk = next(chunks, b"")
        file.flush()
        os.fsync(file.fileno())
    if total is not None and _size(part) < total:
        raise _Interrupted("the connection was closed early")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What arrives, as soon as it arrives, so that little is lost with a connection."""
    try:
        while chunk := response.read1(_CHUNK):
            yield chunk
    except _DROPPED as error:
        raise _Interrupted(f"the connection was lost ({error or type(error).__name__})") from error


def _refuse_web_page(url: str, headers: Message, beginning: bytes) -> None:
    """Hosts answer "200 OK" with a page about quotas, virus scans or logins."""
    if headers.get_content_type() != "text/html" and not is_web_page(beginning):
        return
    title = re.search(rb"<title[^>]*>(.*?)</title>", beginning, re.IGNORECASE | re.DOTALL)
    said = f" ({title[1].decode('utf-8', 'replace').strip()[:100]!r})" if title else ""
    raise UserError(
        f"{url}: the server sent a web page{said} in place of the file: a quota, a virus-scan "
        "notice or a login; open the address in a browser and save the file by hand, or use "
        "another server"
    )


def is_web_page(beginning: bytes) -> bool:
    """Whether a file that begins so is HTML."""
    text = beginning[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith((b"<!doctype html", b"<html"))


def _opener() -> urllib.request.OpenerDirector:
    """urllib's, without the schemes ftp, file and data, which a redirect could lead to."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener

"""Names of files as they are compared, in one Unicode form, whichever system wrote them; and what
label files call their images: paths of any system, addresses, names of uploads."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


def nfc(text: str) -> str:
    """``text`` with accents joined to their letters (Unicode's NFC).

    macOS hands out names with the accents apart (NFD), Linux and Windows as they were written; the
    same name must be equal to itself.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def nfd(text: str) -> str:
    """``text`` with accents apart from their letters (Unicode's NFD), as macOS hands names out."""
    return text if text.isascii() else unicodedata.normalize("NFD", text)


def as_on_disk(path: Path) -> Path:
    """The file or folder that ``path`` names in another Unicode form; itself when there is none."""
    if str(path).isascii() or path.exists():
        return path
    folder = as_on_disk(path.parent) if path.parent != path else path
    try:
        same = [entry for entry in folder.iterdir() if nfc(entry.name) == nfc(path.name)]
    except OSError:
        return path
    return same[0] if same else path


def folded(text: str) -> str:
    """As `nfc`, and without the difference between upper and lower case."""
    return nfc(nfc(text).casefold())


def last_part(text: str) -> str:
    """The name at the end of a path of any system: of ``C:\\a\\b.jpg`` and ``/a/b.jpg`` "b.jpg"."""
    return text.strip().replace("\\", "/").rstrip("/").rpartition("/")[2]


_UPLOADED = re.compile(r"(.*/)?[0-9a-f]{8}-([^/]+)")
"""What Label Studio puts before the name of a file that was uploaded, in all its formats."""


def readings(listed: str) -> list[str]:
    """The paths that a listed name may mean, with forward slashes, the likeliest first.

    Tried after the name as it is written: without an address's escapes (``my%20photo.jpg``), host
    and query, and without what Label Studio puts before it. An address is never taken as written:
    a path in its query would be the image's name.
    """
    plain = listed.strip().replace("\\", "/")
    path = path_in(plain)
    found = [] if "://" in plain or "local-files/?" in plain else [plain]
    found += [path, unquote(path)]
    uploaded = [match for x in found if (match := _UPLOADED.fullmatch(x))]
    found += [f"{match[1] or ''}{match[2]}" for match in uploaded]
    return list(dict.fromkeys(found))


def original(path: str) -> str:
    """A path as it was before a tool took it in: without escapes and the prefix of an upload.

    In one Unicode form and letter case, for comparing.
    """
    path = folded(unquote(path))
    uploaded = _UPLOADED.fullmatch(path)
    return f"{uploaded[1] or ''}{uploaded[2]}" if uploaded else path


def path_in(address: str) -> str:
    """The path in an address: of ``/data/local-files/?d=a/b.jpg`` "a/b.jpg"."""
    try:
        parts = urlsplit(address.replace("\\", "/"))
        if "local-files" in parts.path and (named := parse_qs(parts.query).get("d")):
            return named[0].replace("\\", "/")
    except ValueError:
        return address
    if "://" not in address and not parts.path.startswith("/data/"):
        return unquote(address.replace("\\", "/"))  # `#` and `?` are letters of a name
    return unquote(parts.path)

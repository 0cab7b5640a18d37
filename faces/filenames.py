"""Names of files as they are compared: in one Unicode form, whichever system wrote them."""

from __future__ import annotations

import unicodedata
from pathlib import Path


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

"""Finding image files in folders: by suffix, and nothing is passed over in silence."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from faces.errors import UserError
from faces.images.file import RAW_SUFFIXES, image_kind
from faces.images.write import SAVED_AS
from faces.text import counted

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(SAVED_AS) | {
    *(".apng", ".avif", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jp2", ".jpf", ".jpx"),
    *(".mpo", ".pbm", ".pgm", ".pnm", ".ppm"),
}

_UNREAD_SUFFIXES = RAW_SUFFIXES | {
    *(".ai", ".dds", ".eps", ".exr", ".hdr", ".icns", ".ico", ".jxl", ".jxr", ".pcx", ".psb"),
    *(".psd", ".svg", ".svgz", ".tga", ".wdp", ".xcf"),
}


def find_images(folder: Path, also: frozenset[str] = frozenset()) -> list[Path]:
    """All images under ``folder``, by suffix in any letter case, sorted, links followed.

    Hidden files and folders are left out (macOS puts ``._photo.jpg`` files that are no images into
    archives). Whatever else is there is counted in the log, pictures with their names.

    Args:
        folder: is searched.
        also: suffixes of other files that are wanted.

    Raises UserError when there is no such folder.
    """
    return list(map(Path, find_image_names(folder, also)))


def find_image_names(folder: Path, also: frozenset[str] = frozenset()) -> list[str]:
    """As `find_images`, as texts: those of millions of files fit into memory."""
    wanted = IMAGE_SUFFIXES | also
    found: list[str] = []
    others: list[str] = []
    for path, suffix in _walk(folder):
        (found if suffix in wanted else others).append(path)
    tell_passed_over(str(folder), map(Path, others))
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206


def find_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """All files under ``folder`` with one of these lower-case suffixes; see `find_images`."""
    found = (Path(path) for path, suffix in _walk(folder) if suffix in suffixes)
    return sorted(found, key=lambda path: path.parts)


def tell_passed_over(where: str, paths: Iterable[Path]) -> None:
    """Log what is not looked at: pictures with their names, as a warning, other files as a number.

    Annotations (.xml) are not counted. Files of unknown suffix are looked into.
    """
    unread: list[Path] = []
    unnamed: list[Path] = []
    others: list[Path] = []
    for path in sorted(paths):
        suffix = path.suffix.lower()
        if suffix in _UNREAD_SUFFIXES:
            unread.append(path)
        elif suffix != ".xml":
            (others if image_kind(_start(path)) is None else unnamed).append(path)
    for files, what in (
        (unread, "of a kind that is not read: save as JPEG or PNG"),
        (unnamed, "whose name does not end as a picture's: rename"),
    ):
        if files:
            names = ", ".join(path.name for path in files[:3])
            more = f" and {len(files) - 3:,} more" if len(files) > 3 else ""
            log.warning(
                "%s: passed over %s %s (%s%s)",
                where, counted(len(files), "picture"), what, names, more,
            )  # fmt: skip
    if others:
        kinds = Counter(path.suffix.lower() or "no suffix" for path in others)
        listed = " ".join(kind for kind, _ in kinds.most_common(5))
        log.info("%s: passed over %s (%s)", where, counted(len(others), "other file"), listed)


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file under ``folder`` and its suffix in lower case, as texts: a Path each is 5x slower.

    Raises UserError when there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    seen: set[str] = set()  # folders can link to their own parents
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield os.path.join(parent, name), os.path.splitext(name)[1].lower()  # noqa: PTH118, PTH122


def _start(path: Path) -> bytes:
    try:
        if not path.is_file():  # a pipe gives nothing, for ever
            return b""
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""

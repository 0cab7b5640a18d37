"""Finding image files in folders: by suffix, and nothing is passed over in silence.

A folder that cannot be read is told as a warning; whoever ends with an exit code asks for its name
(``closed``) and ends with 1.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
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

_SYSTEM_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot"),  # Synology
        *("@recycle", "@recently-snapshot"),  # QNAP
        *("$recycle.bin", "system volume information"),  # Windows
        *("lost+found", "__macosx"),  # Linux, archives of macOS
    }
)
"""Thumbnails, deleted files and the like, in lower case: nobody put their photos there."""


def find_images(
    folder: Path, also: frozenset[str] = frozenset(), closed: list[str] | None = None
) -> list[Path]:
    """All images under ``folder``, by suffix in any letter case, sorted, links followed.

    Hidden files and folders are left out (macOS puts ``._photo.jpg`` files that are no images into
    archives), and so are folders of the system, see `is_system_folder`. Whatever else is there is
    counted in the log, pictures with their names.

    Args:
        folder: is searched.
        also: suffixes of other files that are wanted.
        closed: gets the folders that cannot be read.

    Raises UserError when there is no such folder.
    """
    return list(map(Path, find_image_names(folder, also, closed)))


def find_image_names(
    folder: Path, also: frozenset[str] = frozenset(), closed: list[str] | None = None
) -> list[str]:
    """As `find_images`, as texts: those of millions of files fit into memory."""
    wanted = IMAGE_SUFFIXES | also
    found: list[str] = []
    others: list[str] = []
    for path, suffix in _walk(folder, closed):
        (found if suffix in wanted else others).append(path)
    tell_passed_over(str(folder), map(Path, others))
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206


def find_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """All files under ``folder`` with one of these lower-case suffixes; see `find_images`."""
    found = (Path(path) for path, suffix in _walk(folder) if suffix in suffixes)
    return sorted(found, key=lambda path: path.parts)


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name is a disk's or system's own, such as a recycle bin."""
    return name.casefold() in _SYSTEM_FOLDERS


def in_system_folder(path: str) -> bool:
    """Whether one of the folders of a path, with ``/`` between them, is a system folder."""
    return any(map(is_system_folder, path.split("/")[:-1]))


def tell_system_folders(where: str, names: Collection[str]) -> None:
    """Log which of them are left out, if any."""
    if names:
        listed = " ".join(sorted(set(names)))
        log.info("%s: left out %s (%s)", where, counted(len(names), "system folder"), listed)


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


def _walk(folder: Path, closed: list[str] | None = None) -> Iterator[tuple[str, str]]:
    """Each file under ``folder`` and its suffix in lower case, as texts: a Path each is 5x slower.

    ``closed`` gets the folders that cannot be read. Raises UserError when there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")

    def cannot(error: OSError) -> None:
        log.warning("%s: the folder cannot be read: %s", error.filename, error.strerror)
        if closed is not None:
            closed.append(str(error.filename))

    seen: set[str] = set()  # folders can link to their own parents
    system: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=cannot, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        system += [name for name in folders if is_system_folder(name)]
        folders[:] = [x for x in folders if not (x.startswith(".") or is_system_folder(x))]
        for name in names:
            if not name.startswith("."):
                yield os.path.join(parent, name), os.path.splitext(name)[1].lower()  # noqa: PTH118, PTH122
    tell_system_folders(str(folder), system)


def _start(path: Path) -> bytes:
    try:
        if not path.is_file():  # a pipe gives nothing, for ever
            return b""
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""

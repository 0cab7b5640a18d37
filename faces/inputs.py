"""What to look at: images and videos named by files, folders and glob patterns."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from faces.errors import UserError
from faces.filenames import as_on_disk, nfc, nfd
from faces.files import refuse_pipe
from faces.images.find import (
    IMAGE_SUFFIXES,
    find_image_names,
    is_system_folder,
    tell_passed_over,
    tell_system_folders,
)
from faces.images.write import SAVED_AS
from faces.video.kinds import VIDEO_SUFFIXES, is_film, is_media

_DOUBTFUL = frozenset({"", ".ts"})
"""Suffixes that say little (.ts is TypeScript, too): such files count if their content does."""
_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | _DOUBTFUL


logger = logging.getLogger(__name__)


_FORMS = (str, nfc, nfd)  # what was typed may be written otherwise on the disk


@dataclass(frozen=True)
class Source:
    """One image or video to look at."""

    path: Path  # the file
    # where its results belong: its path below the folder that was asked for, with forward slashes,
    # such as ``holiday/beach/1.jpg``. No two sources share one.
    name: str

    @cached_property
    def is_video(self) -> bool:
        """Whether the file is a video; see `is_film`."""
        return is_film(self.path)


def expand_sources(
    arguments: Sequence[str], leave_out: Path | None = None, closed: list[str] | None = None
) -> list[Source]:
    """The images and videos that command-line arguments name, each once, in order.

    Args:
        arguments: files of any suffix, folders (searched recursively) and glob patterns (``*``,
            ``?``, ``[...]``, ``**``; Windows leaves them to the program). A file that exists is
            taken as it is, even with brackets in its name.
        leave_out: a folder of results; what lies in it is not found again when it is inside a
            folder that is searched.
        closed: gets the folders that cannot be read.

    A source's name starts at the folder given, at a file's own folder, or where a pattern's fixed
    part ends; when two would be equal, all names start at the folder that everything shares.

    Raises UserError for an argument that names nothing, or when there is nothing to look at.
    """
    found: dict[str, tuple[Path, Path]] = {}  # real path -> (path, the folder its name starts at)
    out = None if leave_out is None else os.path.realpath(leave_out)
    for argument in arguments:
        base, names, searched = expand(argument, closed)
        paths = list(map(Path, names))
        if searched and out is not None and _inside(out, os.path.realpath(base)):
            paths = [path for path in paths if not _inside(os.path.realpath(path), out)]
        for path in paths:
            found.setdefault(os.path.realpath(path), (path, base))
    if not found:
        where = ", ".join(arguments) or "no path was given"
        raise UserError(
            f"nothing to look at ({where}): expected images ({_listed(IMAGE_SUFFIXES)}), "
            f"videos ({_listed(VIDEO_SUFFIXES)}), or folders or patterns of them"
        )
    files = [path for path, _ in found.values()]
    names = [path.relative_to(base).as_posix() for path, base in found.values()]
    if len({name.casefold() for name in names}) < len(names):  # some file systems ignore case
        names = _names_below_common_folder(files)
    return [Source(path, name) for path, name in zip(files, names, strict=True)]


def plan_pictures(sources: Sequence[Source], folder: Path) -> dict[Source, Path]:
    """The file below ``folder`` for the annotated picture (or video, .mp4) of each source.

    A suffix stays where it can be written and is added to where it cannot. Raises UserError when a
    file would replace an original, or the pictures of two sources would be one.
    """
    targets: dict[Source, Path] = {}
    taken: dict[str, Source] = {}
    for source in sources:
        name = source.name
        if source.is_video and source.path.suffix.lower() != ".mp4":
            name += ".mp4"
        elif not source.is_video and source.path.suffix.lower() not in SAVED_AS:
            name += ".jpg"
        target = folder / name
        other = taken.setdefault(name.casefold(), source)
        if other is not source:
            raise UserError(
                f"{other.path} and {source.path} would both become {target}: rename one of them"
            )
        targets[source] = target
    refuse_originals(sources, *targets.values())
    return targets


def refuse_originals(sources: Sequence[Source], *targets: Path) -> None:
    """Raises UserError when writing one of these files would replace one of the sources."""
    originals = {_identity(source.path): source.path for source in sources}
    for target in targets:
        original = originals.get(_identity(target)) if target.exists() else None
        if original is not None:
            raise UserError(
                f"{target} would replace the original {original}: write to another folder"
            )


def wider_names(sources: Sequence[Source]) -> dict[Source, str]:
    """The name of each image in WIDER FACE's submission format, which drops the suffix.

    Videos have no place in that format and are left out with a warning. Raises UserError when two
    images would have the same name.
    """
    names: dict[Source, str] = {}
    taken: dict[str, Source] = {}
    for source in sources:
        if source.is_video:
            logger.warning("%s: a video has no place in WIDER FACE's format", source.path)
            continue
        names[source] = source.name.removesuffix(source.path.suffix)
        other = taken.setdefault(names[source], source)
        if other is not source:
            raise UserError(
                f"{other.path} and {source.path} differ only in the suffix, which WIDER FACE's "
                "format drops: rename one of them"
            )
    return names


def expand(
    argument: str, closed: list[str] | None = None
) -> tuple[Path, list[str], bool]:  # fmt: skip
    """The folder that names start at, the files, and whether they were searched for.

    ``closed`` gets the folders that cannot be read. Raises UserError for an argument that names
    nothing; a folder may hold nothing.
    """
    if "://" in argument:  # not shown: there may be a password in it
        raise UserError("an address was given where files and folders belong: see `faces webcam`")
    try:
        path = as_on_disk(Path(argument).expanduser())
        if path.is_dir():
            return path, _search(path, closed), True
        refuse_pipe(path)
        if path.exists():
            return path.parent, [str(path)], False
    except OSError as error:  # it lies in a folder that may not be entered
        raise UserError(f"{argument} cannot be read: {error.strerror}") from error
    if not glob.has_magic(argument):
        raise UserError(f"{argument}: there is no such file or folder")
    files: list[str] = []
    others: list[Path] = []
    fixed = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    matches = {x for form in _FORMS for x in glob.glob(form(str(path)), recursive=True)}  # noqa: PTH207 (no hidden files)
    found = list(map(Path, sorted(matches)))
    system = [x for match in found for x in match.parts[fixed:] if is_system_folder(x)]
    tell_system_folders(argument, set(system))
    for match in found:
        if any(map(is_system_folder, match.parts[fixed:])):
            continue
        if match.is_dir():
            files += _search(match, closed)
        elif _wanted(str(match)):
            files.append(str(match))
        else:
            others.append(match)
    tell_passed_over(argument, others)
    if not files:
        raise UserError(f"the pattern {argument} matches no image and no video")
    return Path(*path.parts[:fixed]), files, True


def _search(folder: Path, closed: list[str] | None) -> list[str]:
    files = find_image_names(folder, VIDEO_SUFFIXES | _DOUBTFUL, closed)
    tell_passed_over(str(folder), [Path(path) for path in files if not _wanted(path)])
    return [path for path in files if _wanted(path)]


def _wanted(path: str) -> bool:
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return suffix in _SUFFIXES and (suffix not in _DOUBTFUL or is_media(Path(path)))


def _names_below_common_folder(paths: Sequence[Path]) -> list[str]:
    absolute = [os.path.abspath(path) for path in paths]  # noqa: PTH100 (resolve follows links)
    try:
        common = os.path.commonpath(absolute)
    except ValueError as error:
        raise UserError(
            "files of the same name on different drives: give the drives one at a time"
        ) from error
    return [Path(path).relative_to(common).as_posix() for path in absolute]


def _identity(path: Path) -> tuple[int, int]:
    """Of the file itself, whatever its names, links or letter case."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _inside(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))  # noqa: PTH118


def _listed(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffix.lstrip(".") for suffix in suffixes))

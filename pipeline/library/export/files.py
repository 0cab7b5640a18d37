"""A library's people for other programs: a folder of photos for each, a table, sidecars."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from faces.errors import UserError
from faces.filenames import folded
from faces.files import atomic_write, atomic_write_text
from faces.folders import atomic_folder, copy_file, link_file
from faces.images.read import image_info
from pipeline.library.export.sidecars import OURS, Region, stored_boxes, write_sidecar
from pipeline.library.parts import read_rows
from pipeline.library.schema import MARK, LibraryFaces, path_on_disk
from pipeline.library.search import as_row
from pipeline.library.who.everybody import People, Person
from pipeline.sinks.files import file_name
from pipeline.sources.addresses import is_address

COLUMNS = (
    "person", "name", "path", "face", "x1", "y1", "x2", "y2", "width", "height", "seconds",
    "taken", "score", "quality",
)  # fmt: skip
"""Of `write_csv`; ``person`` is the number in the list, ``width`` and ``height`` the picture's."""

Naming = Literal["photo.jpg.xmp", "photo.xmp"]


@dataclass
class Exported:
    """What became of the photos.

    Args:
        done: how many were written, by how.
        failed: a sentence for each that was not.
    """

    done: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def count(self, how: str) -> None:
        """One more."""
        self.done[how] = self.done.get(how, 0) + 1


def write_folders(
    people: People, chosen: Sequence[Person], folder: Path, *, copy: bool, replace: bool
) -> Exported:
    """A folder for each person, with a link to each photo and film of them, or a copy.

    Args:
        people: the library's.
        chosen: who gets a folder; those without a name are ``person 7`` and so on.
        folder: appears whole.
        copy: copies in place of links. Where links are not allowed, as for most users of Windows,
            they are copies anyway.
        replace: whether one that was made here before may go.

    Raises UserError for a folder that is there, and OSError when it cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / MARK).is_file():
            raise UserError(f"{folder} is there already, and not made by this: name a new folder")
        if not replace:
            raise UserError(
                f"{folder} is there already: name a new folder, or replace it with --overwrite"
            )
        if not copy:
            _keep_copies(people, chosen, folder)
    result = Exported()
    with atomic_folder(folder) as new:
        atomic_write_text(new / MARK, "Made by `faces library export`, which may replace it.\n")
        taken: set[str] = set()
        for person in chosen:
            place = _free(new, file_name(str(person)), "", str(person.number), taken)
            place.mkdir()
            for photo in dict.fromkeys(people.faces.photo[person.rows].tolist()):
                stored = str(people.faces.path[photo])
                source = Path(path_on_disk(stored))
                if _is_link(source) and source.parent.resolve().is_relative_to(folder):
                    continue  # of an earlier export that was indexed: it goes
                if is_address(stored) or not source.is_file():
                    result.failed.append(f"{stored}: it is not on this machine (any more)")
                    continue
                tag = hashlib.sha256(stored.encode()).hexdigest()[:8]
                target = _free(place, source.stem, source.suffix, tag, taken)
                if copy:
                    copy_file(source, target)
                    result.count("copied")
                else:
                    result.count(link_file(source, target))
    return result


def _keep_copies(people: People, chosen: Sequence[Person], folder: Path) -> None:
    """Raises UserError where links would lead to copies in the very folder that is replaced."""
    for person in chosen:
        for photo in dict.fromkeys(people.faces.photo[person.rows].tolist()):
            source = Path(path_on_disk(str(people.faces.path[photo])))
            inside = source.parent.resolve().is_relative_to(folder)
            if inside and source.is_file() and not _is_link(source):
                raise UserError(
                    f"{source} is a copy in the folder that would be replaced: name another "
                    "folder, or export with --copy"
                )


def _is_link(path: Path) -> bool:
    """Whether the file is there under another name, too."""
    return path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1)


def write_csv(people: People, chosen: Sequence[Person], path: Path) -> int:
    """A line for each face, sorted by person; how many. Raises OSError as ``open`` does.

    UTF-8 with a byte order mark, by which spreadsheets know it. A cell that a spreadsheet would
    take for a formula begins with an apostrophe (OWASP, "CSV Injection").
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    faces, count = people.faces, 0
    for person in chosen:
        for row in person.rows.tolist():
            facts = as_row(people, row)
            cells = [
                person.number, facts["name"] or "", facts["path"], facts["face"], *facts["box"],
                *faces.size[faces.photo[row]].tolist(),
                facts["seconds"], facts["taken"], round(float(faces.score[row]), 4),
                _number(float(faces.quality[row])),
            ]  # fmt: skip
            table.writerow([_harmless(c) if isinstance(c, str) else c for c in cells])
            count += 1
    with atomic_write(path, private=True) as file:
        file.write(text.getvalue().encode("utf-8-sig", "backslashreplace"))
    return count


def write_sidecars(
    library: Path, people: People, naming: Naming, folder: Path | None = None
) -> Exported:
    """A sidecar beside each photo with somebody who has a name, or below ``folder``.

    Sidecars of earlier exports lose the names that the library has no more; see `write_sidecar`.

    Args:
        library: the folder of the library.
        people: the library's.
        naming: ``photo.jpg.xmp`` as digiKam, darktable and Immich have it, or ``photo.xmp`` as
            Adobe's programs do.
        folder: where the photos' whole paths are repeated below; None is beside them.
    """
    result, faces = Exported(), people.faces
    named = np.array([bool(p.name) and not p.ignored for p in people.everybody] + [False], bool)
    kinds = np.isnan(faces.seconds)
    columns = read_rows(library, ["path", "size", "modified"]).to_pydict().values()
    stamps = {path: stamp for path, *stamp in zip(*columns, strict=True)}

    def place(stored: str) -> Path:
        source = Path(path_on_disk(stored))
        beside = source.with_suffix(".xmp") if naming == "photo.xmp" else Path(f"{source}.xmp")
        return beside if folder is None else folder / beside.relative_to(beside.anchor)

    named_in: set[Path] = set()
    for photo, rows in _by_photo(faces):
        stored = str(faces.path[photo])
        wanted = [row for row in rows.tolist() if named[people.group[row]] and kinds[row]]
        if is_address(stored) or not kinds[rows].all():
            if wanted or is_address(stored):
                result.failed.append(f"{stored}: only photos on this machine get a sidecar")
            continue
        if not wanted:
            continue
        source, sidecar = Path(path_on_disk(stored)), place(stored)
        if sidecar in named_in:
            result.failed.append(
                f"{stored}: another photo has the sidecar {sidecar.name} already; photo.jpg.xmp "
                "has one for each"
            )
            continue
        named_in.add(sidecar)
        try:
            info, status = image_info(source), source.stat()
            width, height = faces.size[photo].tolist()
            if [status.st_size, status.st_mtime] != stamps.get(stored):
                raise UserError(f"{stored}: it has changed: run `faces index` again")
            boxes = stored_boxes(faces.xyxy[wanted], info.orientation, (height, width))
            regions = [
                Region(
                    str(people.everybody[people.group[row]].name), tuple(box), str(faces.face[row])
                )
                for row, box in zip(wanted, boxes.tolist(), strict=True)
            ]
            result.count(write_sidecar(sidecar, regions, info.stored))
        except (UserError, OSError) as error:
            result.failed.append(str(error))
    for sidecar in {place(stored) for stored in stamps if not is_address(stored)} - named_in:
        try:  # nobody has a name there any more
            if sidecar.is_file() and OURS.encode() in sidecar.read_bytes():
                result.count(write_sidecar(sidecar, [], (0, 0)))
        except (UserError, OSError) as error:
            result.failed.append(str(error))
    return result


def _by_photo(faces: LibraryFaces) -> Iterator[tuple[int, np.ndarray]]:
    starts = np.flatnonzero(np.diff(faces.photo, prepend=-1))
    for rows in np.split(np.arange(len(faces)), starts[1:]):
        if len(rows):
            yield int(faces.photo[rows[0]]), rows


def _free(folder: Path, stem: str, suffix: str, tag: str, taken: set[str]) -> Path:
    """A name that is not taken, also where the case of letters makes no difference."""
    for name in (f"{stem}{suffix}", f"{stem}-{tag}{suffix}"):
        if (key := folded(str(folder / name))) not in taken:
            taken.add(key)
            return folder / name
    raise ValueError(f"{folder / stem} is taken twice")


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _number(value: float) -> float | None:
    return None if value != value else round(value, 4)

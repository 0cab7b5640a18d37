"""Labels of people or images from a CSV file, to compare error rates between groups.

The first line names the columns. One of them says who or what a line is about: a person's name, or
an image as its path below the folder of people ("Ann/Ann_0001.jpg"; the suffix may be left out).
Every other column is a kind of label; an empty cell means that it is not known.

    person,skin,age
    Abel_Pacheco,type 3,adult
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from faces.errors import UserError
from faces.filenames import nfc
from faces.files import read_table, refuse_many_groups

KEYS = ("person", "image", "file")


def read_labels(
    path: Path,
    people: Sequence[str],
    images: Sequence[str],
    key: str | None = None,
    columns: Sequence[str] = (),
) -> dict[str, list[str]]:
    """For each kind of label, the label of every image, "" where it is not known.

    Args:
        people: who is on each image (N,).
        images: each image's path below the folder of people (N,).
        key: the column that says whom a line is about; None takes "person", "image" or "file".
        columns: kinds to read; "a+b" joins two, so that "dark+female" is a group of its own. None
            given: every column but the key.

    Lines about others are passed over. Raises UserError, naming file and line, for a file that is
    not such a table, a column that is not there, a person or image that is there twice, more than
    50 groups, and when no line is about an image that is evaluated.
    """
    header, lines = read_table(path)
    key = _key(header, key, path)
    kinds = list(columns) or [name for name in header if name != key]
    if not kinds:
        raise UserError(f"{path}, line 1: there is no column beside {key!r}")
    for name in [part for kind in kinds for part in kind.split("+")]:
        if name not in header or name == key:
            others = ", ".join(column for column in header if column != key)
            raise UserError(f"{path}: there is no column {name!r} of labels, only {others}")
    rows: dict[str, tuple[int, dict[str, str]]] = {}
    for number, cells in lines:
        about = _plain(cells[key])
        if about in rows:
            raise UserError(
                f"{path}, line {number}: {cells[key]!r} was labeled in line {rows[about][0]} "
                "already; remove one of them"
            )
        rows[about] = (number, cells)
    names = _find(rows, people, images)
    if not any(names):
        raise UserError(
            f"{path}: none of its {len(lines):,} lines is about one of the images; expected "
            f"in the column {key!r} names such as {people[0]!r} or {images[0]!r}"
        )
    result: dict[str, list[str]] = {}
    for kind in kinds:
        result[kind] = labels = []
        for whose in names:
            values = [""] if whose is None else [rows[whose][1][part] for part in kind.split("+")]
            labels.append("+".join(values) if all(values) else "")
        refuse_many_groups(path, kind, labels)
    return result


def _find(
    rows: dict[str, tuple[int, dict[str, str]]], people: Sequence[str], images: Sequence[str]
) -> list[str | None]:
    """The key of each image's line: its own, else its person's."""
    found: list[str | None] = []
    for person, image in zip(people, images, strict=True):
        name = _plain(image)
        options = (name, name.rpartition(".")[0], _plain(person))
        found.append(next((option for option in options if option in rows), None))
    return found


def _plain(text: str) -> str:
    """A path with forward slashes in NFC, whichever system wrote it."""
    return nfc(PurePath(text.replace("\\", "/")).as_posix()) if text else text


def _key(header: list[str], key: str | None, path: Path) -> str:
    if key is not None:
        if key not in header:
            raise UserError(f"{path}: there is no column {key!r}, only {', '.join(header)}")
        return key
    known = [name for name in KEYS if name in header]
    if len(known) != 1:
        raise UserError(
            f"{path}, line 1: which column names the person or the image? Expected 'person', "
            f"'image' or 'file' in {','.join(header)!r}; or name it (by_key)"
        )
    return known[0]

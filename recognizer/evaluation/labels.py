"""Labels of people or images from a CSV file, to compare error rates between groups.

The first line names the columns. One of them says who or what a line is about: a person's name, or
an image as its path below the folder of people ("Ann/Ann_0001.jpg"; the suffix may be left out).
Every other column is a kind of label; an empty cell means that it is not known.

    person,skin,age
    Abel_Pacheco,type 3,adult
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePath

from faces.errors import UserError
from faces.filenames import nfc

KEYS = ("person", "image", "file")
MAX_GROUPS = 50


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
    header, lines = _read(path)
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
    result = {}
    for kind in kinds:
        labels = [_label(rows[name][1], kind) if name is not None else "" for name in names]
        groups = len(set(labels) - {""})
        if groups > MAX_GROUPS:
            raise UserError(
                f"{path}: the column {kind!r} has {groups} values, more than {MAX_GROUPS}; put "
                "them into ranges first, or name other columns"
            )
        result[kind] = labels
    return result


def _label(cells: dict[str, str], kind: str) -> str:
    values = [cells[name] for name in kind.split("+")]
    return "+".join(values) if all(values) else ""


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


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the labels {path}: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        lines = [(rows.line_num, [cell.strip() for cell in row]) for row in rows if any(row)]
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: not valid CSV: {error}") from error
    if len(set(header)) < len(header) or "" in header or not header:
        raise UserError(f"{path}, line 1: every column needs a name of its own")
    for number, row in lines:
        if len(row) != len(header):
            raise UserError(
                f"{path}, line {number}: {len(row)} cells, but the header has {len(header)} columns"
            )
    return header, [(number, dict(zip(header, row, strict=True))) for number, row in lines]


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

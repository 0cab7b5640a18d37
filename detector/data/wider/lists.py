"""The truth of WIDER FACE as its authors publish it: text files, MATLAB files, file lists.

Source of the formats: ``wider_face_split/readme.txt`` of the data set,
http://shuoyang1213.me/WIDERFACE/. A text file has for each image its name, the number of faces,
and one row a face::

    0--Parade/0_Parade_marchingband_1_849.jpg
    1
    449 330 122 149 0 0 0 0 0 0

The columns are x, y, width and height in pixels, counted from 0, and `LABELS`. An image without a
face has the number 0 and still one row, all zero; the MATLAB files have that row alone.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.filenames import folded, nfc
from faces.images.find import IMAGE_SUFFIXES

# blur: 0 clear, 1 normal, 2 heavy; expression: 0 typical, 1 exaggerated; illumination: 0 normal,
# 1 extreme; invalid: 0 no, 1 yes; occlusion: 0 none, 1 partial, 2 heavy; pose: 0 typical,
# 1 atypical. In the order of the text files' columns.
LABELS = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")

# What scipy raises on damaged files: it follows their sizes and types wherever they lead.
_BROKEN_MAT = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError),
    *(OSError, EOFError, zlib.error),
)


@dataclass(frozen=True, eq=False)
class WiderImage:
    """The faces of one image."""

    name: str  # "EVENT/NAME.jpg", below the folder of images
    # float64 (N, 4), x, y, width, height in pixels, as published (some are empty)
    xywh: NDArray[np.float64]
    labels: NDArray[np.int64]  # int64 (N, 6), one column for each of `LABELS`

    def __len__(self) -> int:
        return len(self.xywh)

    def xyxy(self) -> NDArray[np.float64]:
        """float64 (N, 4), x1 y1 x2 y2 in pixels, exclusive ends."""
        return np.hstack([self.xywh[:, :2], self.xywh[:, :2] + self.xywh[:, 2:]])

    def invalid(self) -> NDArray[np.bool_]:
        """bool (N,): faces that the authors marked as not to be counted."""
        return self.labels[:, LABELS.index("invalid")] == 1


def parse_text(data: bytes, where: str) -> list[WiderImage]:
    """Read ``wider_face_{train,val}_bbx_gt.txt``; any line ends.

    Raises UserError, naming file and line, where the file breaks the format, lists an image twice
    or names one outside the folder of images.
    """
    lines = _lines(data, where)
    images: list[WiderImage] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        name = _checked_name(lines[at].strip(), f"{where}, line {at + 1}")
        count = _count(lines, at + 1, where)
        rows = [_row(lines, i, where) for i in range(at + 2, at + 2 + count)]
        at += 2 + count
        if count == 0 and at < len(lines) and len(lines[at].split()) == 10:
            _row(lines, at, where)  # the row of zeros
            at += 1
        images.append(_image(name, rows))
    _refuse_duplicates([image.name for image in images], where)
    return images


def parse_mat(data: bytes, where: str) -> list[WiderImage]:
    """Read ``wider_face_{train,val}.mat`` (the same truth); arguments as for `parse_text`.

    Only for files from a source you trust: scipy's reader refuses damaged ones, but one made on
    purpose can crash it.

    Raises UserError when it is no such file or an image's labels do not fit its boxes.
    """
    from scipy.io import loadmat  # takes 0.2 s to import and is seldom needed
    from scipy.io.matlab import MatReadError

    lists = ["face_bbx_list", *(f"{label}_label_list" for label in LABELS)]
    try:
        mat = loadmat(io.BytesIO(data), variable_names=["event_list", "file_list", *lists])
    except NotImplementedError as error:
        raise UserError(
            f"{where}: a MATLAB 7.3 file; use the text file of the same name beside it"
        ) from error
    except (*_BROKEN_MAT, MatReadError) as error:
        raise UserError(f"{where}: not a readable MATLAB file: {error}") from error
    images = []
    try:
        for event, files, *per_event in zip(
            *(mat[key].ravel() for key in ("event_list", "file_list", *lists)), strict=True
        ):
            cells = zip(files.ravel(), *(cell.ravel() for cell in per_event), strict=True)
            for file, boxes, *labels in cells:
                name = _checked_name(f"{_text(event)}/{_text(file)}.jpg", where)
                images.append(_image(name, np.column_stack([boxes, *labels]).astype(np.float64)))
    except _BROKEN_MAT as error:
        raise UserError(f"{where}: not the truth of WIDER FACE: {error}") from error
    _refuse_duplicates([image.name for image in images], where)
    return images


def parse_file_list(data: bytes, where: str) -> list[str]:
    """Read ``wider_face_test_filelist.txt``: one name "EVENT/NAME.jpg" a line.

    Raises UserError, naming file and line, for anything else.
    """
    lines = enumerate(_lines(data, where), start=1)
    names = [_checked_name(x.strip(), f"{where}, line {i}") for i, x in lines if x.strip()]
    _refuse_duplicates(names, where)
    return names


def _lines(data: bytes, where: str) -> list[str]:
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}, line {line}: not UTF-8 text: {error.reason}") from error


def _checked_name(name: str, where: str) -> str:
    """``name`` if it is a relative path to an image that stays below its folder."""
    parts = name.split("/")
    # A backslash or a colon would be a folder or a drive on Windows.
    safe = not any(part in ("", ".", "..") for part in parts) and not set(name) & set("\\:\0")
    if not safe or not name.lower().endswith(tuple(IMAGE_SUFFIXES)):
        raise UserError(f"{where}: expected an image like EVENT/NAME.jpg, got {name[:80]!r}")
    return nfc(name)


def _count(lines: Sequence[str], at: int, where: str) -> int:
    text = lines[at].strip() if at < len(lines) else ""
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{where}, line {at + 1}: expected the number of faces, got {text[:80]!r}")
    if (count := int(text)) > len(lines) - at - 1:
        raise UserError(
            f"{where}, line {at + 1}: {count} faces are announced but only "
            f"{len(lines) - at - 1} lines follow; the file is cut off or the number is wrong"
        )
    return count


def _row(lines: Sequence[str], at: int, where: str) -> list[float]:
    try:
        row = [float(text) for text in lines[at].split()]
    except ValueError:
        row = []
    if len(row) != 10 or not all(map(math.isfinite, row)):
        raise UserError(
            f"{where}, line {at + 1}: expected 10 numbers (x y width height {' '.join(LABELS)}), "
            f"got {lines[at].strip()[:80]!r}"
        )
    return row


def _image(name: str, rows: Sequence[Sequence[float]] | NDArray[np.float64]) -> WiderImage:
    table = np.array(rows, np.float64).reshape(-1, 10)
    if len(table) == 1 and not table.any():  # how both formats say "no face"
        table = table[:0]
    return WiderImage(name, table[:, :4], table[:, 4:].astype(np.int64))


def _refuse_duplicates(names: Sequence[str], where: str) -> None:
    """Names that differ only in letter case or suffix would share one annotation file."""
    seen: dict[str, str] = {}
    for name in names:
        key = folded(name.rpartition(".")[0])
        if key in seen:
            raise UserError(f"{where}: {name} is listed twice (also as {seen[key]}); remove one")
        seen[key] = name


def _text(cell: Any) -> str:
    """The string inside MATLAB's nested cells."""
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0]
    return str(cell)

"""The faces of a VOC folder, by one rule for training, evaluation and checking.

What counts as a face, what is left out, and when there is nothing to train or evaluate on:
training that sees no face ends with a fine loss and finds nothing, so that is refused beforehand.
"""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.data.voc.annotation import VocAnnotation, VocObject, points_of, read_voc
from detector.data.voc.boxes import mend_box
from detector.data.voc.folder import usable_pairs
from faces.errors import UserError
from faces.filenames import folded
from faces.text import counted

log = logging.getLogger(__name__)

LEAST_FACE = 4.0
"""Pixels a side, on average, below which nothing of a face can be seen: a third of an eye."""

LEAST_PICTURE = 16
"""Pixels on the longer side below which a picture is told of."""

_IGNORED = {"ignore", "ignored", "ignore region", "ignored region", "ignored regions", "dontcare"}


@dataclass(frozen=True, eq=False)
class LabelFile:
    """The annotations of one part of another tool's data set, whose images stay where they are."""

    path: Path  # its label file or folder, for messages
    annotations: Mapping[Path, VocAnnotation]  # those of each image

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, eq=False)
class VocFaces:
    """The faces of one annotation."""

    path: Path  # the annotation
    annotation: VocAnnotation  # all that it holds
    objects: tuple[VocObject, ...]  # those of the wanted classes (N)
    # float64 (N, 4), x1 y1 x2 y2 in the image; corners sorted, cut off at the edges, and without
    # area where nothing of the box lies in the image
    xyxy: NDArray[np.float64]
    sound: NDArray[np.bool_]  # bool (N,), whether a box has an area
    # bool (N,), to be ignored: marked so, or called so (see `is_ignored`)
    difficult: NDArray[np.bool_]

    @property
    def points(self) -> NDArray[np.float64]:
        """The five points of each, float64 (N, 5, 2), x y in pixels, NaN where it is not known."""
        return points_of(self.objects)


def is_ignored(name: str) -> bool:
    """Whether a class is no class, but a region that shall be ignored."""
    return folded(name).replace("_", " ").replace("-", " ").strip() in _IGNORED


def annotated(
    images: Path, annotations: Path | LabelFile
) -> list[tuple[Path, Path, VocAnnotation | None]]:
    """Every image, its label file, and what is known already of what that says.

    Raises UserError as `usable_pairs` does.
    """
    if isinstance(annotations, LabelFile):
        items = sorted(annotations.annotations.items(), key=lambda item: item[0].parts)
        return [(image, annotations.path, voc) for image, voc in items]
    return [(image, path, None) for image, path in usable_pairs(images, annotations)]


def read_faces(
    path: Path,
    size: tuple[int, int] | None,
    classes: Sequence[str] = (),
    image: Path | None = None,
    voc: VocAnnotation | None = None,
) -> VocFaces:
    """Read one annotation to train or evaluate on.

    Args:
        size: (height, width) of its image in pixels; None when there is no image.
        classes: object names that are faces; empty: all, nameless ones too.
        voc: what was read already, see `annotated`.

    Raises UserError as `read_voc` does, and when the annotation is for an image of another size.
    """
    remedy = "repair the folder with `faces prepare check --fix`"
    if voc is None:
        voc = read_voc(path)
    else:
        remedy = "`faces prepare import` the data set, and then " + remedy
    said = (voc.height, voc.width)
    if size is not None and all(said) and said != size:
        raise UserError(
            f"{path} is for an image of {voc.width}x{voc.height} pixels, but "
            f"{image or 'its image'} has {size[1]}x{size[0]}: use the image that was annotated, or "
            f"{remedy}"
        )
    return faces_of(voc, path, size, classes)


def faces_of(
    voc: VocAnnotation, path: Path, size: tuple[int, int] | None, classes: Sequence[str] = ()
) -> VocFaces:
    """The faces of an annotation that has been read; see `read_faces`."""
    height, width = size or (voc.height, voc.width)
    # Without any size every box lies in the image.
    height, width = height or 1 << 30, width or 1 << 30
    objects = tuple(
        item for item in voc.objects if not classes or item.name in classes or is_ignored(item.name)
    )
    boxes = np.zeros((len(objects), 4))
    sound = np.zeros(len(objects), bool)
    for i, item in enumerate(objects):
        mended, _ = mend_box(item.xyxy, width, height)
        sound[i] = mended is not None
        boxes[i] = np.clip(item.xyxy, 0, [width, height] * 2) if mended is None else mended
    difficult = np.array([item.difficult or is_ignored(item.name) for item in objects], bool)
    return VocFaces(path, voc, objects, boxes, sound, difficult)


def check_truth(faces: Iterable[VocFaces], where: str, classes: Sequence[str] = ()) -> None:
    """Refuse a set without a face to count; say in the log what was read in spite of a flaw.

    Args:
        classes: the wanted object names; empty: all.

    Raises UserError, see `why_no_face`.
    """
    faces = list(faces)
    why = why_no_face(faces, classes)
    if why is not None:
        raise UserError(f"{where}: {why}")
    names = _names(faces)
    for name in classes:
        if name not in names:
            log.warning("%s: no object is called %r%s", where, name, _instead(name, names))
    dropped = sum(int((~item.sound).sum()) for item in faces)
    if dropped:
        log.warning(
            "%s: left out %s without area in the image (`faces prepare check` names them)",
            where,
            counted(dropped, "box"),
        )
    tiny = [x for x in faces if 0 < max(x.annotation.width, x.annotation.height) < LEAST_PICTURE]
    if tiny:
        log.warning(
            "%s: %s with fewer than %d pixels a side show next to nothing, the first by %s",
            where,
            counted(len(tiny), "picture"),
            LEAST_PICTURE,
            tiny[0].path,
        )
    flawed = [item for item in faces if item.annotation.flaws]
    if flawed:
        log.warning(
            "%s: %s not as it should be and read all the same, the first is %s, %s "
            "(`faces prepare check` names them, --fix repairs them)",
            where,
            counted(len(flawed), "annotation"),
            flawed[0].path,
            flawed[0].annotation.flaws[0],
        )


def why_no_face(faces: Sequence[VocFaces], classes: Sequence[str] = ()) -> str | None:
    """Why no face of a set counts, naming what is there instead; None when one does."""
    if any((item.sound & ~item.difficult & _large(item)).any() for item in faces):
        return None
    names = _names(faces)
    total = sum(names.values())
    wanted = sum(len(item.objects) for item in faces)
    if not total:
        return f"none of its {counted(len(faces), 'annotation')} has an object, so there is no face"
    if not wanted:
        first = classes[0]
        asked = " ".join(classes)
        return f"classes {asked}: none of its objects is called so{_instead(first, names)}"
    difficult = sum(int(item.difficult.sum()) for item in faces)
    reason = "all are marked difficult" if difficult == wanted else "all are difficult or empty"
    seen = [_sides(item)[item.sound & ~item.difficult] for item in faces]
    if any(len(sides) for sides in seen):
        largest = max(float(sides.max()) for sides in seen if len(sides))
        reason = (
            f"nothing can be seen in faces of less than {LEAST_FACE:g} pixels, and the largest has "
            f"{largest:.1f}; are these the pictures that were labeled?"
        )
    return f"none of its {counted(wanted, 'face')} counts: {reason}"


def _sides(faces: VocFaces) -> NDArray[np.float64]:
    """The geometric mean of the sides of each box, in pixels: (N,)."""
    return np.sqrt((faces.xyxy[:, 2:] - faces.xyxy[:, :2]).clip(0).prod(axis=1))


def _large(faces: VocFaces) -> NDArray[np.bool_]:
    """Which are not too small to be seen; fractions of the picture are another fault."""
    if any(flaw.kind == "fractions" for flaw in faces.annotation.flaws):
        return np.ones(len(faces.objects), bool)
    return _sides(faces) >= LEAST_FACE


def _names(faces: Iterable[VocFaces]) -> Counter[str]:
    return Counter(item.name for one in faces for item in one.annotation.objects)


def _instead(name: str, names: Counter[str]) -> str:
    """The classes that are there, and the one that is probably meant."""
    shown = ", ".join(f"{other or '(no name)'} ({n:,})" for other, n in names.most_common(10))
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    plain = {other.strip().casefold(): other for other in names if other}
    close = difflib.get_close_matches(name.strip().casefold(), plain, n=1)
    meant = f"; did you mean {plain[close[0]]!r}?" if close else ""
    return f"; there are {shown}{more}{meant}"

"""Which detection lies on which face: the one rule that WIDER FACE and PASCAL VOC share.

A detection belongs to the face that it overlaps most, if that overlap is at least 0.5. The best
scored of those that belong to a face finds it; the others are false positives, unless the face is
to be ignored. So whether a face is found at a threshold depends only on the highest score on it: no
loop over sorted detections is needed, and the order of the input cannot matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from faces.boxes import iou
from faces.errors import UserError

IOU = 0.5
"""Overlap from which on a detection belongs to a face."""


@dataclass(frozen=True, eq=False)
class ImageFaces:
    """The annotated faces of one image."""

    name: str  # the image's name, see `detector.data.submission`
    xyxy: NDArray[np.float64]  # float64 (N, 4), x1 y1 x2 y2 in pixels of the image
    # bool (N,), faces that are neither found nor missed (difficult, invalid)
    ignored: NDArray[np.bool_]
    # for each attribute, the N faces' values; "" where a face has none
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # for each setting of WIDER FACE, bool (N,): the faces that count in it
    listed: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    # float64 (N, 5, 2), NaN where a point is not known; None where none can be
    points: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.xyxy)


def require_faces(truth: list[ImageFaces]) -> list[ImageFaces]:
    """``truth``, if any of its faces counts; otherwise UserError."""
    if all(image.ignored.all() for image in truth):
        total = sum(len(image) for image in truth)
        there = "has a face" if not total else f"has a face that counts ({total:,} are ignored)"
        raise UserError(
            f"none of the {len(truth):,} images to evaluate {there}: there is "
            "nothing to find; take other images"
        )
    return truth


@dataclass(frozen=True, eq=False)
class Matches:
    """All D detections and F faces of a set of images, and which lies on which."""

    names: tuple[str, ...]  # the images' names
    # image, xyxy, score: of each detection: position in ``names``, box (D, 4), score
    image: NDArray[np.intp]
    xyxy: NDArray[np.float64]
    score: NDArray[np.float64]
    face: NDArray[np.intp]  # the face each detection belongs to, -1 for none
    overlap: NDArray[np.float64]  # each detection's highest overlap with a face, 0..1
    first: NDArray[np.bool_]  # bool (D,), the best scored detection of its face
    # face_image, face_xyxy, face_ignored: of each face, in the order of the images and of their
    # annotations
    face_image: NDArray[np.intp]
    face_xyxy: NDArray[np.float64]
    face_ignored: NDArray[np.bool_]
    # the highest score of a detection on the face, -inf where there is none
    face_score: NDArray[np.float64]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """bool (D,): not on a face to ignore, so either right or a false positive."""
        return _not_on(self.face, self.face_ignored)

    @property
    def false_positive(self) -> NDArray[np.bool_]:
        """bool (D,): on no face, or on one that a better scored detection has found."""
        return self.counted & ~self.first


def match(
    truth: Sequence[ImageFaces],
    detections: Mapping[str, NDArray[np.float64]],
    *,
    pixel: float = 0.0,
    least: float = IOU,
) -> Matches:
    """Match each image's detections with its faces.

    Args:
        truth: the images to evaluate. One without an entry in ``detections`` has no detection.
        detections: float64 (N, 5), x1 y1 x2 y2 score by image name, in any order.
        pixel: 1 for the overlap of old tools, in which a box of width ``x2 - x1`` covers one pixel
            more; 0 for the plain one.
        least: the overlap from which on a detection belongs to a face.

    Raises ValueError when an image is twice in ``truth`` or a detection is of an image not in it.
    """
    names = tuple(image.name for image in truth)
    unknown = detections.keys() - set(names)
    if unknown or len(set(names)) < len(names):
        raise ValueError(f"images without truth {sorted(unknown)[:3]} or given twice")
    empty = np.zeros((0, 5))
    rows = [np.asarray(detections.get(name, empty), np.float64).reshape(-1, 5) for name in names]
    starts = np.cumsum([0, *map(len, truth)])
    face, overlap = [], []
    for image, boxes, start in zip(truth, rows, starts[:-1], strict=True):
        index, value = best_overlap(boxes[:, :4], image.xyxy, pixel=pixel)
        face.append(np.where(value >= least, index + start, -1))
        overlap.append(value)
    everything = np.concatenate([empty, *rows])
    faces = np.concatenate([np.zeros(0, np.intp), *face])
    score = everything[:, 4]
    face_score = np.full(starts[-1], -np.inf)
    np.maximum.at(face_score, faces[faces >= 0], score[faces >= 0])
    # The boxes only decide which of several equal scores is called the first.
    order = np.lexsort((*everything[:, :4].T, -score, faces))
    first = np.zeros(len(faces), bool)
    first[order] = np.diff(faces[order], prepend=-1) > 0
    return Matches(
        names=names,
        image=np.repeat(np.arange(len(rows)), [len(boxes) for boxes in rows]),
        xyxy=everything[:, :4],
        score=score,
        face=faces,
        overlap=np.concatenate([np.zeros(0), *overlap]),
        first=first,
        face_image=np.repeat(np.arange(len(truth)), [len(image) for image in truth]),
        face_xyxy=np.concatenate([np.zeros((0, 4)), *(image.xyxy for image in truth)]),
        face_ignored=np.concatenate([np.zeros(0, bool), *(image.ignored for image in truth)]),
        face_score=face_score,
    )


def counted_without(matches: Matches, ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool (D,): detections not on a face of ``ignored``, bool (F,)."""
    return _not_on(matches.face, ignored)


def best_overlap(
    boxes: NDArray[np.float64], faces: NDArray[np.float64], *, pixel: float = 0.0
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each box (N, 4) the face (M, 4) it overlaps most, and that intersection over union.

    Of equal overlaps the first face is taken. Without faces the index is 0 and the overlap 0.
    """
    if not len(faces):
        return np.zeros(len(boxes), np.intp), np.zeros(len(boxes))
    overlaps = iou(boxes, faces, pixel)
    index = overlaps.argmax(1)
    return index, overlaps[np.arange(len(boxes)), index]


def _not_on(face: NDArray[np.intp], ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # One entry more, so that -1 (no face) reads a False at the end.
    return ~np.append(ignored, False)[face]

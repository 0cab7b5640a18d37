"""What a detector takes and gives. Only NumPy is imported with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faces.errors import UserError


@dataclass(frozen=True, eq=False)
class Detection:
    """One face of one image.

    Args:
        box: float32 (4,), ``x1 y1 x2 y2`` in pixels of the image.
        score: 0..1.
        landmarks: float32 (5, 2), ``x y`` of both eyes, the nose and both corners of the mouth,
            the person's right eye first, in pixels; None where the detector has none.

    >>> from faces import Detections
    >>> Detections([[10, 10, 40, 50]], [0.9], (100, 200))[0]
    Detection(box [10 10 40 50], score 0.90)
    """

    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        _set_frozen(self, state)

    def __repr__(self) -> str:
        box = " ".join(f"{value:.0f}" for value in self.box)
        return f"Detection(box [{box}], score {self.score:.2f})"


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The faces found in one image; parallel, read-only arrays that are filtered together.

    Args:
        xyxy: float32 (N, 4), ``x1 y1 x2 y2`` in pixels of the image the caller gave,
            ``0 <= x1 < x2 <= width`` and ``0 <= y1 < y2 <= height``.
        score: float32 (N,), 0..1, in descending order.
        image_size: (height, width) of that image in pixels.
        landmarks: float32 (N, 5, 2), see `Detection`; None where the detector has none.

    Raises ValueError when the arrays break these rules; the message names the first bad index.

    >>> from faces import Detections
    >>> found = Detections([[10, 10, 40, 50], [60, 20, 80, 50]], [0.9, 0.4], (100, 200))
    >>> found
    Detections(2 faces in 200x100: [10 10 40 50] 0.90, [60 20 80 50] 0.40)
    >>> len(found.above(0.5)), found[0].score.__round__(2)
    (1, 0.9)
    >>> [detection.box.tolist() for detection in found]
    [[10.0, 10.0, 40.0, 50.0], [60.0, 20.0, 80.0, 50.0]]
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    image_size: tuple[int, int]
    landmarks: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        xyxy = _frozen(self.xyxy, (0, 4))
        score = _frozen(self.score, (0,))
        landmarks = None if self.landmarks is None else _frozen(self.landmarks, (0, 5, 2))
        height, width = self.image_size
        if xyxy.ndim != 2 or xyxy.shape[1] != 4:
            raise ValueError(f"xyxy must have the shape (N, 4), got {xyxy.shape}")
        if score.shape != (len(xyxy),):
            raise ValueError(f"score must have the shape ({len(xyxy)},), got {score.shape}")
        if landmarks is not None and landmarks.shape != (len(xyxy), 5, 2):
            raise ValueError(
                f"landmarks must have the shape ({len(xyxy)}, 5, 2), got {landmarks.shape}"
            )
        if not (np.isfinite(xyxy).all() and np.isfinite(score).all()):
            raise ValueError("boxes and scores must be finite")
        x1, y1, x2, y2 = xyxy.T
        bad = (x1 < 0) | (y1 < 0) | (x2 <= x1) | (y2 <= y1) | (x2 > width) | (y2 > height)
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"box {i} is {xyxy[i].tolist()}, which is empty or outside the image of "
                f"{width}x{height} pixels"
            )
        bad = (score < 0) | (score > 1.001)  # 1 and its rounding error
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise ValueError(f"score {i} is {score[i]:g}, and scores are 0..1")
        if (np.diff(score) > 0).any():
            i = int(np.flatnonzero(np.diff(score) > 0)[0]) + 1
            raise ValueError(f"scores must descend, but score {i} is larger than the one before")
        object.__setattr__(self, "xyxy", xyxy)
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "image_size", (int(height), int(width)))
        object.__setattr__(self, "landmarks", landmarks)

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> Detections:
        """No face in an image of ``image_size`` = (height, width)."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), image_size)

    @classmethod
    def from_raw(
        cls,
        xyxy: ArrayLike,
        score: ArrayLike,
        image_size: tuple[int, int],
        landmarks: ArrayLike | None = None,
    ) -> Detections:
        """Clip boxes (N, 4) to the image, drop those that become empty, sort by score (N,)."""
        boxes = np.array(xyxy, np.float32).reshape(-1, 4)
        scores = np.array(score, np.float32).reshape(-1)
        height, width = image_size
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        keep = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        order = keep[np.argsort(-scores[keep], kind="stable")]
        points = None
        if landmarks is not None:
            points = np.array(landmarks, np.float32).reshape(-1, 5, 2)[order]
        return cls(boxes[order], scores[order], image_size, points)

    @classmethod
    def merge(cls, parts: Iterable[Detections]) -> Detections:
        """The faces of several results for one image as one; scores descend again.

        Boxes that lie on each other all stay. Landmarks stay when every part with faces has them.
        Raises UserError when there is no part, or when the parts are of different image sizes.
        """
        parts = list(parts)
        sizes = {part.image_size for part in parts}
        if len(sizes) != 1:
            raise UserError(f"the parts must be of one image, got the sizes {sorted(sizes)}")
        (size,) = sizes
        full = [part for part in parts if len(part)]
        if not full:
            return cls.empty(size)
        points = [part.landmarks for part in full if part.landmarks is not None]
        return cls.from_raw(
            np.concatenate([part.xyxy for part in full]),
            np.concatenate([part.score for part in full]),
            size,
            np.concatenate(points) if len(points) == len(full) else None,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        _set_frozen(self, state)

    def __len__(self) -> int:
        return len(self.score)

    def __iter__(self) -> Iterator[Detection]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(
        self, index: slice | NDArray | Sequence[int] | Sequence[bool]
    ) -> Detections: ...
    def __getitem__(
        self, index: int | slice | NDArray | Sequence[int] | Sequence[bool]
    ) -> Detection | Detections:
        """One face by its number; those selected by a slice, a mask or ascending positions."""
        points = self.landmarks
        if isinstance(index, bool | np.bool_):
            raise TypeError(f"faces are selected by their numbers or a mask, not by {index}")
        if isinstance(index, int | np.integer):
            own = None if points is None else points[index]
            return Detection(self.xyxy[index], float(self.score[index]), own)
        if not isinstance(index, slice):
            index = np.asarray(index)
            if index.size == 0:
                index = index.astype(int)
        return Detections(
            self.xyxy[index],
            self.score[index],
            self.image_size,
            None if points is None else points[index],
        )

    def __repr__(self) -> str:
        height, width = self.image_size
        some = [f"[{' '.join(f'{v:.0f}' for v in d.box)}] {d.score:.2f}" for d in self[:3]]
        more = [f"and {len(self) - 3} more"] if len(self) > 3 else []
        noun = "face" if len(self) == 1 else "faces"
        told = f": {', '.join(some + more)}" if some else ""
        return f"Detections({len(self) or 'no'} {noun} in {width}x{height}{told})"

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        return self[self.score >= score]

    def crops(self, image: Any) -> list[NDArray[np.uint8]]:
        """A copy of each face out of the image, RGB uint8 (h, w, 3), whole pixels, in order.

        Args:
            image: a path, a Pillow image or an array, see `faces.images.read.as_image`.

        Raises UserError for what is no image, or one of another size.

        >>> import faces
        >>> from skimage.data import astronaut
        >>> found = faces.load_detector().detect(astronaut())
        >>> [crop.shape for crop in found.crops(astronaut())]
        [(115, 93, 3)]
        """
        image = self._own_image(image)
        corners = np.concatenate([np.floor(self.xyxy[:, :2]), np.ceil(self.xyxy[:, 2:])], axis=1)
        return [image[y1:y2, x1:x2].copy() for x1, y1, x2, y2 in corners.astype(int).tolist()]

    def plot(self, image: Any) -> NDArray[np.uint8]:
        """A copy of the image, RGB uint8 (H, W, 3), with a box and score around each face.

        Takes what `crops` takes and raises as it does.
        """
        from detector.draw import draw_detections

        return draw_detections(self._own_image(image), self)

    def save(self, path: str | Path, image: Any = None) -> Path:
        """Write the faces to a file that appears whole; returns its path.

        Args:
            path: ``.json`` writes `to_json`; ``.png``, ``.jpg`` and the like write `plot`.
            image: as for `crops`; needed for a picture.

        Raises UserError for a picture without ``image``, OSError when it cannot be written.

        >>> import faces
        >>> from skimage.data import astronaut
        >>> found = faces.load_detector().detect(astronaut())
        >>> found.save("found.png", astronaut()).name
        'found.png'
        """
        from faces.files import atomic_write
        from faces.images.write import save_image

        path = Path(path)
        if path.suffix.lower() == ".json":
            with atomic_write(path) as file:
                file.write(json.dumps(self.to_json()).encode() + b"\n")
        elif image is None:
            raise UserError(f"to write the picture {path}, give the image as well")
        else:
            save_image(path, self.plot(image))
        return path

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`: width, height and a list of faces, each with box and score."""
        height, width = self.image_size
        faces: list[dict[str, Any]] = []
        for detection in self:
            face: dict[str, Any] = {
                "box": [round(value, 2) for value in detection.box.tolist()],
                "score": round(detection.score, 6),
            }
            if detection.landmarks is not None:
                face["landmarks"] = [
                    [round(x, 2), round(y, 2)] for x, y in detection.landmarks.tolist()
                ]
            faces.append(face)
        return {"width": width, "height": height, "faces": faces}

    def to_coco(self, image_id: int | str = 0, category_id: int = 1) -> list[dict[str, Any]]:
        """Results as COCO's tools read them: ``bbox`` is ``x y width height`` in pixels."""
        results: list[dict[str, Any]] = []
        for detection in self:
            x1, y1, x2, y2 = detection.box.tolist()
            result: dict[str, Any] = {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": detection.score,
            }
            if detection.landmarks is not None:
                points = detection.landmarks.tolist()
                result["keypoints"] = [value for x, y in points for value in (x, y, 2)]
            results.append(result)
        return results

    def to_supervision(self) -> Any:
        """`supervision.Detections` of one class, 0. Raises ImportError without that package."""
        import supervision  # type: ignore[import-not-found,unused-ignore]

        return supervision.Detections(
            xyxy=self.xyxy.copy(),
            confidence=self.score.copy(),
            class_id=np.zeros(len(self), int),
        )

    def _own_image(self, image: Any) -> NDArray[np.uint8]:
        from faces.images.read import as_image

        image = as_image(image)
        if image.shape[:2] != self.image_size:
            height, width = self.image_size
            raise UserError(
                f"these faces are of an image of {width}x{height} pixels, this one has "
                f"{image.shape[1]}x{image.shape[0]}"
            )
        return image


class Detector(Protocol):
    """Anything that finds faces. Images are RGB uint8 (H, W, 3) arrays of any size."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the faces of one image."""

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find the faces of several images, one result each, in order."""


def _frozen(array: ArrayLike, empty: tuple[int, ...]) -> NDArray[np.float32]:
    copy = np.array(array, np.float32)
    if copy.shape == (0,):  # an empty list
        copy = copy.reshape(empty)
    copy.flags.writeable = False
    return copy


def _set_frozen(result: Detection | Detections, state: dict[str, Any]) -> None:
    """Fill a copied or unpickled result, whose arrays came without being read-only."""
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(result, name, value)

"""Images and VOC annotations as a torch data set whose samples depend only on the seed.

The annotations live in a few arrays, not in Python objects, so that worker processes share their
memory instead of slowly copying it (https://github.com/pytorch/pytorch/issues/13246).
"""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info
from torchvision import tv_tensors
from tqdm import tqdm

from detector.data.voc.annotation import VocAnnotation
from detector.data.voc.truth import LabelFile, VocFaces, annotated, check_truth, read_faces
from detector.inference.resize import Resize
from detector.training.transforms import FACE, IGNORED, IgnoreSmall
from faces.errors import UserError
from faces.images.read import MAX_PIXELS, image_size, read_image
from faces.text import counted

log = logging.getLogger(__name__)

Key = tuple[int, int, bool]
"""Which image, the seed of its augmentation, whether the crop is a large one."""
Sample = tuple[Tensor, dict[str, Tensor], int]
Batch = tuple[Tensor, list[dict[str, Tensor]], list[int]]


class FaceIndex:
    """Which images there are and where their faces lie, held in arrays.

    Args:
        image_dir: searched recursively for images.
        annotation_dir: their VOC files, in the same sub-folders or all in one folder, matched by
            the file's stem; or what a file of another tool holds.
        classes: object names that are faces; empty: all.

    An annotated image without faces stays in as a negative. An image without an annotation is left
    out with a warning. Objects marked ``difficult`` (WIDER's "invalid") are to be ignored, boxes
    are clipped to the picture, and those with no area in it are dropped, counted in the log.

    Raises UserError when a folder is missing or has no usable pair, an image cannot be read, its
    size disagrees with the annotation, or no face is left to count; see `detector.data.voc.truth`.
    """

    def __init__(
        self,
        image_dir: Path,
        annotation_dir: Path | LabelFile,
        classes: tuple[str, ...] = (),
        progress: bool = False,
    ) -> None:
        self.image_dir = image_dir
        pairs = annotated(image_dir, annotation_dir)
        with ThreadPoolExecutor(8) as pool:
            rows = list(
                tqdm(
                    pool.map(lambda pair: _read_pair(pair[0], pair[1], pair[2], classes), pairs),
                    total=len(pairs),
                    desc=f"reading {annotation_dir}",
                    unit="file",
                    leave=False,
                    disable=None if progress else True,
                )
            )
        faces = [item for item, _ in rows]
        check_truth(faces, str(annotation_dir), classes)
        self._names = np.array([str(image.relative_to(image_dir)) for image, *_ in pairs])
        self._boxes = np.concatenate([item.xyxy[item.sound] for item in faces]).astype(np.float32)
        labels = [np.where(item.difficult, IGNORED, FACE)[item.sound] for item in faces]
        self._points = np.concatenate([item.points[item.sound] for item in faces], dtype=np.float32)
        self._labels = np.concatenate(labels).astype(np.int64)
        self._ends = np.cumsum([len(part) for part in labels])
        self.sizes = np.array([size for _, size in rows])
        log.info(
            "%s: %s, %s, %d ignored, %s without a face",
            image_dir,
            counted(len(self), "image"),
            counted(int((self._labels == FACE).sum()), "face"),
            int((self._labels == IGNORED).sum()),
            counted(sum(1 for i in range(len(self)) if not len(self.boxes(i))), "image"),
        )

    def __len__(self) -> int:
        return len(self._names)

    def take(self, rows: Sequence[int]) -> FaceIndex:
        """The index of some of the images only."""
        part = copy.copy(self)
        labels = [self.labels(i) for i in rows]
        part._names = self._names[list(rows)]
        part._boxes = np.concatenate([self.boxes(i) for i in rows])
        part._points = np.concatenate([self.points(i) for i in rows])
        part._labels = np.concatenate(labels)
        part._ends = np.cumsum([len(each) for each in labels])
        part.sizes = self.sizes[list(rows)]
        return part

    def with_points(self) -> FaceIndex:
        """The index of the images with points, in which faces without are to be ignored."""
        part = copy.copy(self)
        known = np.any(np.isfinite(self._points).all(axis=2), axis=1)
        part._labels = np.where(known, self._labels, IGNORED)
        return part.take(np.flatnonzero(part.faces).tolist())

    def path(self, i: int) -> Path:
        """Image ``i``."""
        return self.image_dir / str(self._names[i])

    def paths(self) -> list[Path]:
        """All images."""
        return [self.path(i) for i in range(len(self))]

    def name(self, i: int) -> str:
        """Image ``i`` as a path inside the image folder."""
        return str(self._names[i])

    @property
    def faces(self) -> NDArray[np.int64]:
        """How many faces, ignored ones apart, every image has: int64 (len,)."""
        counted = np.concatenate(([0], np.cumsum(self._labels == FACE)))
        ends = counted[self._ends]
        return np.diff(ends, prepend=0)

    def boxes(self, i: int) -> NDArray[np.float32]:
        """All boxes of image ``i``: float32 (N, 4), x1 y1 x2 y2 in its pixels."""
        return self._boxes[self._start(i) : self._ends[i]]

    def labels(self, i: int) -> NDArray[np.int64]:
        """1 for a face, -1 for one to ignore: int64 (N,)."""
        return self._labels[self._start(i) : self._ends[i]]

    def record(self, i: int) -> bytes:
        """What is known of image ``i``, but for its name: for comparing with another index."""
        parts = (self.sizes[i], self.boxes(i), self.labels(i), self.points(i))
        return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)

    def points(self, i: int) -> NDArray[np.float32]:
        """The five points of all boxes of image ``i``: float32 (N, 5, 2), NaN where not known."""
        return self._points[self._start(i) : self._ends[i]]

    @property
    def has_points(self) -> bool:
        """Whether any face that counts has a point."""
        return bool(np.isfinite(self._points[self._labels == FACE]).any())

    def _start(self, i: int) -> int:
        return int(self._ends[i - 1]) if i else 0


def _read_pair(
    image: Path, annotation: Path, voc: VocAnnotation | None, classes: tuple[str, ...]
) -> tuple[VocFaces, tuple[int, int]]:
    """The faces, and (height, width) of the picture."""
    height, width = image_size(image)
    if height * width > MAX_PIXELS:  # reading it would end the training in some later epoch
        raise UserError(
            f"{image} has {width}x{height} pixels, more than the limit of {MAX_PIXELS:,}: make it "
            "smaller, or remove it"
        )
    return read_faces(annotation, (height, width), classes, image, voc), (height, width)


class FaceDataset(Dataset[Sample]):
    """Augmented samples of a `FaceIndex`, addressed by (index, seed, large).

    ``dataset[index, seed, large]`` gives an uint8 image (3, H, W), a target (``boxes`` (N, 4),
    ``labels`` (N,) ones, ``points`` (N, 5, 2), ``ignore`` (M, 4)) and the index; the same key gives
    the same sample in any process.

    Args:
        transform: acts on (image, target); see `detector.training.transforms`.
        large: the same for large crops, where the batches ask for some.
        cache_mb: megabytes of decoded images to keep, shared out over the loader's workers.
    """

    def __init__(
        self,
        index: FaceIndex,
        transform: Callable,
        cache_mb: int = 0,
        large: Callable | None = None,
    ) -> None:
        self.index = index
        self.transforms = (transform, large)
        self.cache_bytes = cache_mb * 2**20
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Key) -> Sample:
        i, seed, large = key
        transform = self.transforms[large]
        assert transform is not None
        pixels = torch.from_numpy(self._decode(i)).permute(2, 0, 1)
        boxes = tv_tensors.BoundingBoxes(
            torch.from_numpy(self.index.boxes(i).copy()),
            format="XYXY",
            canvas_size=tuple(pixels.shape[-2:]),
        )
        labels = torch.from_numpy(self.index.labels(i).copy())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image, target = transform(
                tv_tensors.Image(pixels),
                {
                    "boxes": boxes,
                    "labels": labels,
                    "points": torch.from_numpy(self.index.points(i).copy()),
                },
            )
        return image.as_subclass(Tensor), split_target(target), i

    def _decode(self, i: int) -> NDArray[np.uint8]:
        if i in self._cache:
            return self._cache[i]
        pixels = np.array(read_image(self.index.path(i)))  # a copy that torch may hold writable
        worker = get_worker_info()
        budget = self.cache_bytes // (worker.num_workers if worker else 1)
        if self._cached_bytes + pixels.nbytes <= budget:
            # Nothing is evicted: in random order, what came first is as good as any other.
            self._cache[i] = pixels
            self._cached_bytes += pixels.nbytes
        return pixels


def split_target(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """``boxes``, ``labels`` and ``points`` with ignored faces -> without, and ``ignore``."""
    boxes = target["boxes"].as_subclass(Tensor).float()
    face = target["labels"] == FACE
    return {
        "boxes": boxes[face],
        "labels": target["labels"][face],
        "points": target["points"][face],
        "ignore": boxes[~face],
    }


def collate(samples: list[Sample]) -> Batch:
    """Stack images of one size: uint8 (B, 3, H, W), a target each, the indices."""
    images, targets, indices = zip(*samples, strict=True)
    return torch.stack(images), list(targets), list(indices)


class ValidationBatches:
    """The validation images as inference sees them, in a fixed order: iterable of `Batch`.

    Each image is resized and padded by ``resize``; images of the same padded size form batches of
    at most ``batch_size``. Faces under ``min_face`` pixels are ignored, as in training.
    """

    def __init__(
        self,
        index: FaceIndex,
        resize: Resize,
        batch_size: int,
        workers: int = 1,
        min_face: float = 0.0,
    ) -> None:
        self.ignore_small = IgnoreSmall(min_face)
        self.index = index
        self.resize = resize
        self.batch_size = batch_size
        self.workers = max(1, workers)
        self._groups = self._group()

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Batch]:
        return self.groups(range(len(self)))

    def groups(self, numbers: Sequence[int]) -> Generator[Batch]:
        """Some of the batches, by their numbers. Close the generator when it is left early.

        Raises UserError for a picture that cannot be read.
        """
        groups = [self._groups[number] for number in numbers]
        with ThreadPoolExecutor(self.workers) as pool:  # Pillow decodes without Python's lock
            ahead = [pool.submit(self._load, group) for group in groups[:2]]
            for k in range(len(groups)):
                if k + 2 < len(groups):
                    ahead.append(pool.submit(self._load, groups[k + 2]))
                yield ahead[k].result()
                ahead[k] = None  # type: ignore[call-overload]

    def scale(self, i: int) -> NDArray[np.float32]:
        """From the pixels of picture ``i`` to those of its batch: float32 (4,), x y x y."""
        height, width = self.index.sizes[i].tolist()
        rows, columns = self.resize.target(height, width)
        return np.array([columns / width, rows / height] * 2, np.float32)

    def _group(self) -> list[list[int]]:
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, (height, width) in enumerate(self.index.sizes.tolist()):
            new = self.resize.target(height, width)
            rows, columns = (-(-side // self.resize.multiple) for side in new)
            by_size[rows, columns].append(i)
        return [
            members[k : k + self.batch_size]
            for _, members in sorted(by_size.items())
            for k in range(0, len(members), self.batch_size)
        ]

    def _load(self, group: list[int]) -> Batch:
        return collate([self._sample(i) for i in group])

    def _sample(self, i: int) -> Sample:
        resized = self.resize(read_image(self.index.path(i)))
        target = {
            "boxes": torch.from_numpy(self.index.boxes(i) * self.scale(i)),
            "labels": torch.from_numpy(self.index.labels(i).copy()),
            "points": torch.from_numpy(self.index.points(i) * self.scale(i)[:2]),
        }
        pixels = torch.from_numpy(resized.pixels.copy()).permute(2, 0, 1)
        _, target = self.ignore_small(pixels, target)
        return pixels, split_target(target), i

"""What `faces pretrain-embedder` learns from: photos of people, and sets with boxes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from faces.errors import UserError, require
from scripts.options.command_line import arg

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recognizer.crop import CropRecipe
    from recognizer.data.lfw import Lfw
    from recognizer.pretraining.cache import Maker, Photo
    from recognizer.pretraining.students import Start

LEAST_FACE = 32  # pixels; a teacher knows nothing of smaller ones


@dataclass(frozen=True)
class FaceSources:
    """Where the faces come from. Photos of one face each, or with boxes."""

    folders: tuple[Path, ...] = ()
    """Folders with a folder of photos for each person: names to learn from."""
    photos: tuple[Path, ...] = ()
    """Folders of photos without names; the main face of each counts."""
    boxes: Literal["center", "detect"] = "detect"
    """Where the face is in --folders and --photos: `detect` finds it; `center`: every photo is cut
    around one, with --border about as in LFW's pictures, which saves two thirds of the time."""
    border: float = 0.125
    """Black border around those photos, as a part of their longer side, in which a detector finds
    faces that fill the photo."""
    wider: Annotated[Path | None, arg("none")] = None
    """Folder of WIDER FACE, of which the training part is used."""
    voc: tuple[Path, ...] = ()
    """Folders of PASCAL VOC sets, images and annotations: every box counts as a face."""
    lfw: Annotated[Path | None, arg("none")] = None
    """Folder of LFW, to judge with: pairs.txt, and a folder per person in it or in its folder
    images; pictures of 150 x 150 or 250 x 250 pixels, deep-funneled."""
    folds: tuple[int, ...] = ()
    """Folds of LFW to learn from, too."""
    held_out: int = 6
    """Fold of LFW that judges, with a threshold chosen on the others; it is never trained on."""
    detector: Annotated[Path | None, arg("shipped")] = None
    """Checkpoint, TorchScript or ONNX file that finds the faces in --folders and --photos."""

    def check(self) -> None:
        """Raises UserError for flags that do not fit together."""
        require(
            [
                (
                    bool(self.folders or self.photos or self.wider or self.voc or self.folds),
                    "there is no face to learn from: give --folders DIR with a folder of photos "
                    "for each person, or --photos, --wider, --voc",
                ),
                (not self.folds or self.lfw is not None, "--folds needs --lfw DIR"),
                (
                    self.held_out not in self.folds,
                    f"fold {self.held_out} is for validation: it cannot be trained on",
                ),
                (0 <= self.border <= 1, "--border is a part of the photo's side, 0 to 1"),
            ]
        )


def gather(sources: FaceSources, lfw: Lfw | None) -> list[Photo]:
    """All photos to learn from. Raises UserError for a source that cannot be read."""
    from faces.images.find import find_images
    from recognizer.data.photos import read_folders
    from recognizer.pretraining.cache import Photo

    found: list[Photo] = []
    for number, root in enumerate(sources.folders):
        people = read_folders(root)
        # The same name in two folders need not be the same person.
        names = [f"{number}/{name}" for name in people.people]
        found += [Photo(path, None, name) for path, name in zip(people.paths, names, strict=True)]
    for root in sources.photos:
        paths = find_images(root)
        if not paths:
            raise UserError(f"{root}: there is no image")
        found += [Photo(path) for path in paths]
    if sources.wider is not None:
        found += _wider(sources.wider)
    for root in sources.voc:
        found += _voc(root)
    if lfw is not None and sources.folds:
        part = lfw.of_folds(*sources.folds)
        known = zip(part.images, part.people, strict=True)
        found += [Photo(path, lfw_box(path), f"lfw/{name}") for path, name in known]
    return found


def maker(
    sources: FaceSources, recipe: CropRecipe, start: Start
) -> tuple[functools.partial[Maker], str]:
    """What opens the networks that make faces, in any process, and words for all that they are."""
    from pipeline.enroll.photo_faces import face_finder

    words = f"{recipe.identity}; {start.identity}"
    if sources.folders or sources.photos:
        _, where = face_finder(sources.boxes, sources.detector, 1)
        words += f"; {where}; border {sources.border:g}"
    return functools.partial(open_maker, sources, recipe, start), words


def open_maker(sources: FaceSources, recipe: CropRecipe, start: Start) -> Maker:
    """Open the detector, the landmarks and the teacher."""
    from pipeline.enroll.photo_faces import face_finder
    from recognizer.data.photos import bordered
    from recognizer.embedders.embedder import landmarks_for
    from recognizer.pretraining.cache import Maker
    from recognizer.pretraining.students import open_teacher

    find, _ = face_finder(sources.boxes, sources.detector, 1)
    find = bordered(find, sources.border)
    return Maker(recipe, open_teacher(start), find, landmarks_for(recipe, 1))


def lfw_box(path: Path) -> NDArray[np.float32]:
    """Where the face is in a picture of LFW, float32 (1, 4)."""
    import numpy as np

    from faces.images.read import image_size
    from recognizer.data.photos import center_box

    width, height = image_size(path)
    if width != height or width not in (150, 250):
        raise UserError(f"{path} has {width}x{height} pixels, expected 150x150 or 250x250")
    return center_box(np.broadcast_to(np.uint8(0), (height, width, 3)))


def _wider(folder: Path) -> Iterator[Photo]:
    from detector.data.wider.lists import parse_text
    from recognizer.pretraining.cache import Photo

    truth = folder / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    try:
        data = truth.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {truth}: {error.strerror}") from error
    for image in parse_text(data, str(truth)):
        boxes = _large(image.xyxy()[~image.invalid()])
        if len(boxes):
            yield Photo(folder / "WIDER_train" / "images" / image.name, boxes)


def _voc(folder: Path) -> Iterator[Photo]:
    from detector.data.voc.annotation import read_voc
    from detector.data.voc.folder import usable_pairs
    from recognizer.pretraining.cache import Photo

    for image, annotation in usable_pairs(folder / "images", folder / "annotations"):
        boxes = _large([item.xyxy for item in read_voc(annotation).objects])
        if len(boxes):
            yield Photo(image, boxes)


def _large(boxes: Any) -> NDArray[np.float32]:
    import numpy as np

    xyxy = np.asarray(boxes, np.float32).reshape(-1, 4)
    return xyxy[(xyxy[:, 2:] - xyxy[:, :2]).min(axis=1) >= LEAST_FACE]

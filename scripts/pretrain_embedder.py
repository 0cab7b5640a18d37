"""`faces pretrain-embedder`: train MiniResNet, which turns a face into a vector."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from faces.errors import UserError
from recognizer.pretraining.config import PretrainConfig
from scripts.options.command_line import arg, log_to_stderr, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recognizer.crop import LandmarkFinder
    from recognizer.data.lfw import Lfw
    from recognizer.pretraining.variants import Photo

log = logging.getLogger(__name__)

DESCRIPTION = """Train MiniResNet, the small network that turns a face into a vector, to give the
vectors of a larger network, the teacher. Faces come from LFW (some of its folds; one more is held
out for validation), and from the training parts of WIDER FACE and of PASCAL VOC folders. The
weights are for the uses that the data's terms allow: those of LFW and WIDER FACE are research."""

EXAMPLES = """\
faces pretrain-embedder --lfw ../shared/data/lfw --wider ../shared/data/widerface \\
    --teacher ../shared/data/weights/peers/mobilefacenet.onnx --run runs/mini
faces pretrain-embedder --lfw lfw --teacher teacher.onnx --run runs/mini --steps 2000
faces pretrain-embedder --lfw lfw --teacher teacher.onnx --run runs/mini --steps 4000 --resume"""

LEAST_FACE = 32  # pixels; the teacher knows nothing of smaller ones

LFW_BOX = (37.0, 27.0, 113.0, 127.0)
"""Where a face lies in a deep-funneled LFW image cut to its middle 150 x 150 pixels."""


@dataclass(frozen=True)
class Options:
    """What to learn from, and where to write."""

    lfw: Path
    """Folder of LFW: pairs.txt, and a folder per person in it or in its folder images; pictures
    of 150 x 150 or 250 x 250 pixels, deep-funneled."""
    teacher: Path
    """ONNX file of the teacher: aligned RGB faces (N, 3, 112, 112), ImageNet's mean and spread."""
    run: Path
    """Folder of the run: last.pt, history.jsonl."""
    folds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Folds of LFW to learn from."""
    held_out: int = 6
    """Fold of LFW to validate on; none of its people is trained on."""
    wider: Annotated[Path | None, arg("none")] = None
    """Folder of WIDER FACE, of which the training part is used."""
    voc: Annotated[Path | None, arg("none")] = None
    """Folder of a PASCAL VOC set, images and annotations: every box counts as a face."""
    resume: bool = False
    """Go on from the run's last.pt; another number of steps may be given."""
    threads: int = 1
    """CPU threads of the student and of the teacher."""
    train: PretrainConfig = field(default_factory=PretrainConfig)


def main(argv: Sequence[str]) -> int:
    """Cut the faces, train, print a line for each evaluation."""
    options: Options = parse(
        Options, argv, prog="faces pretrain-embedder", description=DESCRIPTION, examples=EXAMPLES
    )
    log_to_stderr()
    last = options.run / "last.pt"
    if last.exists() and not options.resume:
        raise UserError(f"{last} is there already: give --resume or another --run")
    import cv2
    import torch

    from recognizer.crop import CropRecipe
    from recognizer.data.lfw import read_lfw
    from recognizer.embedders.mini import MiniConfig
    from recognizer.landmarks import LandmarkNet
    from recognizer.pretraining.pool import variants
    from recognizer.pretraining.teacher import Teacher
    from recognizer.pretraining.train import HeldOutPairs, Trainer
    from recognizer.pretraining.variants import Varied

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    teacher = Teacher(options.teacher, options.threads)
    shape = MiniConfig(size=teacher.size, dimension=teacher.dimension)
    recipe = CropRecipe(teacher.size, margin=0.08, kind="aligned")
    landmarks = LandmarkNet(threads=options.threads)
    lfw = read_lfw(options.lfw)
    tuning, held_out = lfw.of_folds(*options.folds), lfw.of_folds(options.held_out)
    faces = gather(options, tuning, held_out, landmarks, teacher.size)
    judge = HeldOutPairs(
        tuning, _crops(tuning, recipe, landmarks), held_out, _crops(held_out, recipe, landmarks)
    )
    trainer = Trainer(options.train, shape, recipe, options.run)
    if options.resume:
        trainer.resume()
    else:
        teacher_itself = judge(lambda faces: _in_parts(teacher, faces))
        log.info("the teacher itself: %s", _show(teacher_itself))
    varied = Varied(faces, teacher.size, options.train.merged)
    with variants(varied, options.teacher, options.train) as following:
        for line in trainer.fit(following, judge):
            print(_show(line), flush=True)
    return 0


def gather(
    options: Options, tuning: Lfw, held_out: Lfw, landmarks: LandmarkFinder, size: int
) -> NDArray[np.uint8]:
    """All faces to learn from. Raises UserError when there are none."""
    import numpy as np
    from tqdm import tqdm

    from recognizer.pretraining.variants import cut_faces

    judged = set(held_out.people)
    if judged & set(tuning.people):
        raise UserError(f"fold {options.held_out} is for validation: it cannot be trained on")
    sources = {"LFW": _lfw_photos(tuning)}
    if options.wider is not None:
        sources["WIDER FACE"] = list(_wider_photos(options.wider))
    if options.voc is not None:
        sources["VOC"] = list(_voc_photos(options.voc))
    faces = []
    for name, photos in sources.items():
        bar = tqdm(photos, desc=name, unit="image", disable=None)
        cut = [face for _, face in cut_faces(bar, landmarks, size)]
        log.info("%s: %d faces in %d images", name, len(cut), len(photos))
        faces += cut
    if not faces:
        raise UserError("there is no face to learn from")
    return np.stack(faces)


def _lfw_photos(lfw: Lfw) -> list[Photo]:
    from recognizer.pretraining.variants import Photo

    return [Photo(path, _lfw_box(path)) for path in lfw.images]


def _lfw_box(path: Path) -> NDArray[np.float32]:
    import numpy as np

    from faces.images.read import image_size

    width, height = image_size(path)
    if width != height or width not in (150, 250):
        raise UserError(f"{path} has {width}x{height} pixels, expected 150x150 or 250x250")
    return np.array([LFW_BOX], np.float32) + (width - 150) / 2


def _crops(lfw: Lfw, recipe: Any, landmarks: LandmarkFinder) -> NDArray[np.uint8]:
    import numpy as np

    from faces.images.read import read_image

    return np.concatenate(
        [recipe(read_image(path), _lfw_box(path), landmarks) for path in lfw.images]
    )


def _wider_photos(folder: Path) -> Iterator[Photo]:
    from detector.data.wider.lists import parse_text
    from recognizer.pretraining.variants import Photo

    truth = folder / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    try:
        data = truth.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {truth}: {error.strerror}") from error
    for image in parse_text(data, str(truth)):
        boxes = _large(image.xyxy()[~image.invalid()])
        if len(boxes):
            yield Photo(folder / "WIDER_train" / "images" / image.name, boxes)


def _voc_photos(folder: Path) -> Iterator[Photo]:
    from detector.data.voc.annotation import read_voc
    from detector.data.voc.folder import usable_pairs
    from recognizer.pretraining.variants import Photo

    for image, annotation in usable_pairs(folder / "images", folder / "annotations"):
        boxes = _large([item.xyxy for item in read_voc(annotation).objects])
        if len(boxes):
            yield Photo(image, boxes)


def _large(boxes: Any) -> NDArray[np.float32]:
    import numpy as np

    xyxy = np.asarray(boxes, np.float32).reshape(-1, 4)
    return xyxy[(xyxy[:, 2:] - xyxy[:, :2]).min(axis=1) >= LEAST_FACE]


def _in_parts(teacher: Any, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    import numpy as np

    return np.concatenate([teacher(faces[i : i + 8]) for i in range(0, len(faces), 8)])


def _show(line: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in line.items())


if __name__ == "__main__":
    from scripts.main import run_command

    sys.exit(run_command("scripts.pretrain_embedder", sys.argv[1:]))

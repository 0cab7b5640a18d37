"""The WIDER FACE evaluation: easy, medium and hard average precision on the validation split.

The rules are those of the official MATLAB tools (``eval_tools.zip`` at
http://shuoyang1213.me/WIDERFACE/: ``wider_eval.m``, ``norm_score.m``, ``evaluation.m``,
``boxoverlap.m``, ``VOCap.m``), which the widely used Python port follows
(https://github.com/wondervictor/WiderFace-Evaluation, ``evaluation.py``):

- Scores are brought to 0..1 by the lowest and the highest of the whole set.
- A box ``x y w h`` reaches from x to x + w and covers one pixel more on each side, detections and
  faces alike. Coordinates are floating point; nothing is rounded.
- A detection belongs to the face, *of all annotated ones*, that it overlaps most, if by 0.5.
- Each setting lists the faces that count in it. A detection on any other face counts neither way;
  a second one on a face that counts is a false positive.
- Precision and recall are taken at the 1,000 thresholds 0.999, 0.998, ... 0.
- The area is that under the curve made monotone, over all points.
- Images without any annotated face are left out, false positives included.

Where we differ on purpose: when all scores are equal, the official division 0 / 0 makes every AP
zero, even that of a perfect detector; here such scores all become 1. And the port needs its input
sorted; the official reader sorts, and here the order cannot matter (see `matching`).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.wider.source import MAX_TRUTH_BYTES, read_member
from detector.evaluation.curves import Curve, curve
from detector.evaluation.matching import ImageFaces, counted_without, match, require_faces
from faces.errors import UserError
from faces.filenames import nfc
from faces.files import read_limited

logger = logging.getLogger(__name__)

SETTINGS = ("easy", "medium", "hard")
PROTOCOL = "WIDER FACE (IoU 0.5 with +1 pixel, faces outside the setting ignored, 1,000 thresholds)"
THRESHOLDS = 1 - np.arange(1, 1001) / 1000

# The published images are all this wide (seen on 2,250 of the 3,226), and the lists are for them.
WIDTH = 1024

_FILES = ("wider_face_val.mat", *(f"wider_{setting}_val.mat" for setting in SETTINGS))
_FOLDERS = ("eval_ground_truth", "eval_tools/ground_truth", "ground_truth", ".")
_ARCHIVE = "eval_tools.zip"

# wider_face_split/readme.txt
LABELS: Mapping[str, tuple[str, ...]] = {
    "blur": ("clear", "normal blur", "heavy blur"),
    "expression": ("typical", "exaggerated"),
    "illumination": ("normal", "extreme"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
}


def find_ground_truth(folder: Path) -> Path:
    """The official ``.mat`` files in or below ``folder``: their folder, or ``eval_tools.zip``.

    Raises UserError when there is neither.
    """
    for name in _FOLDERS:
        if all((folder / name / file).is_file() for file in _FILES):
            return folder / name
    if (folder / _ARCHIVE).is_file():
        return folder / _ARCHIVE
    raise UserError(
        f"{folder}: the official ground truth is missing; expected {', '.join(_FILES)} in "
        f"{folder / _FOLDERS[0]}, or {folder / _ARCHIVE}, which has them: `faces prepare download` "
        "brings it, and so does http://shuoyang1213.me/WIDERFACE/"
    )


def read_ground_truth(source: Path) -> list[ImageFaces]:
    """Read the four official ``.mat`` files: 3,226 images with 39,708 faces, in their order.

    ``source`` is what `find_ground_truth` gives. Boxes are x, y, x + w, y + h, all that the files
    have: an image without a face has one box of zeros, and the official tool counts its false
    alarms because of it. ``listed`` has the three settings; ``ignored`` is for all other figures:
    faces marked invalid or without area. Raises UserError, naming the file, when one is missing,
    damaged or disagrees with the others.
    """
    contents = [_load(source, name) for name in _FILES]
    everything, lists = contents[0], contents[1:]
    truth = []
    try:
        for e, event in enumerate(_strings(everything["event_list"])):
            for i, stem in enumerate(_strings(everything["file_list"].ravel()[e])):
                boxes = np.array(_inner(everything, "face_bbx_list", e, i), np.float64)
                boxes = boxes.reshape(-1, 4)
                boxes[:, 2:] += boxes[:, :2]
                listed = {
                    setting: _mask(_inner(content, "gt_list", e, i), len(boxes))
                    for setting, content in zip(SETTINGS, lists, strict=True)
                }
                labels = {
                    name: [values[v] for v in _inner(everything, f"{name}_label_list", e, i)]
                    for name, values in LABELS.items()
                }
                ignored = _inner(everything, "invalid_label_list", e, i).astype(bool)
                ignored |= (boxes[:, 2:] <= boxes[:, :2]).any(1)
                truth.append(ImageFaces(nfc(f"{event}/{stem}"), boxes, ignored, labels, listed))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(
            f"{source}: the .mat files are not the official ground truth or not of one release "
            f"({type(error).__name__}: {error}); take all four from one eval_tools.zip"
        ) from error
    return truth


def restrict(truth: Sequence[ImageFaces], names: Iterable[str]) -> list[ImageFaces]:
    """The images of the ground truth that are to be evaluated, in its order.

    Raises UserError for a name that the ground truth does not know, because its detections would
    be lost without a word, and when there is no name at all, or no face that counts.
    """
    wanted = set(names)
    unknown = sorted(wanted - {image.name for image in truth})
    if unknown:
        raise UserError(
            f"{len(unknown):,} of {len(wanted):,} images are not in the official ground truth, "
            f"first {unknown[0]!r}; expected names such as {truth[0].name!r} from WIDER_val"
        )
    if not wanted:
        raise UserError("there is no image to evaluate")
    return require_faces([image for image in truth if image.name in wanted])


def check_sizes(truth: Sequence[ImageFaces], sizes: Mapping[str, tuple[int, int]]) -> None:
    """Refuse images that were rescaled, because the official boxes are for the published size.

    Args:
        truth: the images to evaluate.
        sizes: (height, width) in pixels by name, of those at hand.

    Raises UserError when a face lies outside its image or over 1 % of the images are not 1,024
    pixels wide.
    """
    wrong = []
    for image in truth:
        if image.name not in sizes:
            continue
        height, width = sizes[image.name]
        # The official boxes themselves reach 2 pixels beyond their image here and there.
        outside = len(image) and (image.xyxy[:, 2:].max(0) > (width + 2, height + 2)).any()
        if outside or width != WIDTH:
            wrong.append((image.name, f"{width}x{height}", bool(outside)))
    if any(outside for _, _, outside in wrong) or len(wrong) > 0.01 * len(sizes):
        name, size, _ = next((item for item in wrong if item[2]), wrong[0])
        raise UserError(
            f"{len(wrong):,} of {len(sizes):,} images do not have the published size, first "
            f"{name!r} with {size} pixels instead of {WIDTH} in width: the official ground truth "
            "does not fit rescaled images; evaluate the original files, or use image_path and "
            "annotation_dir with annotations of that scale"
        )


def evaluate(
    truth: Sequence[ImageFaces], detections: Mapping[str, NDArray[np.float64]]
) -> dict[str, Curve]:
    """The precision-recall curve and AP of each setting.

    Args:
        truth: from `read_ground_truth`, all or a part of it.
        detections: float64 (N, 5), x1 y1 x2 y2 score by image name; a missing image has none.

    AP is None for a setting without a face in these images.
    """
    matches = match(truth, detections, pixel=1.0)
    low, high = _range(matches.score)
    found = _normal(matches.face_score, low, high)
    score = _normal(matches.score, low, high)
    has_faces = np.array([len(image) > 0 for image in truth], bool)[matches.image]
    curves = {}
    for setting in SETTINGS:
        listed = np.concatenate([np.zeros(0, bool), *(image.listed[setting] for image in truth)])
        counted = counted_without(matches, ~listed) & has_faces
        curves[setting] = curve(found[listed], score[counted], THRESHOLDS, int(listed.sum()))
    return curves


def _range(score: NDArray[np.float64]) -> tuple[float, float]:
    if not len(score):
        return 0.0, 1.0
    low, high = float(score.min()), float(score.max())
    # norm_score.m starts its search for the highest score from realmin('single').
    high = max(high, float(np.finfo(np.float32).tiny))
    if low == high:
        logger.warning("all detections have the same score %g; there is no curve to draw", low)
        low = high - 1.0
    return low, high


def _normal(score: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return (score - low) / (high - low)


def _load(source: Path, name: str) -> dict[str, Any]:
    from scipy.io import loadmat  # slow to import, and not needed to evaluate

    path = source / name
    data = read_member(source, name) if source.is_file() else read_limited(path, MAX_TRUTH_BYTES)
    try:
        return loadmat(io.BytesIO(data))
    except Exception as error:  # SciPy raises whatever its parser stumbles over
        raise UserError(f"{path}: not a MATLAB file, or damaged: {error}") from error


def _strings(array: NDArray) -> list[str]:
    return [str(cell.item()) for cell in array.ravel()]


def _inner(content: dict[str, Any], key: str, event: int, image: int) -> NDArray:
    """The numbers of one image: a cell of the event's cell; a flat vector unless boxes."""
    values = content[key].ravel()[event].ravel()[image]
    return values if key == "face_bbx_list" else values.ravel().astype(np.intp)


def _mask(positions: NDArray, count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, bool)
    if len(positions) and positions.min() < 1:
        raise IndexError("face lists count from 1")
    mask[positions - 1] = True
    return mask

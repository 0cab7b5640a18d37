"""A small data set of real faces for a first walk through the project; nothing is downloaded.

The faces are 100 crops of Labeled Faces in the Wild (25x25 pixels, gray; the first half of
``skimage.data.lfw_subset()``), tinted and painted onto people in front of pictures that come with
scikit-image and hold no face. 80 crops serve the training scenes and the other 20 the validation
scenes, so no face is in both. Everything but the faces is drawn: this shows how the project works
and is no substitute for photographs.

The photographs of `detector.data.portraits` are in none of the scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from detector.data.portraits import GONE, missing
from faces.errors import UserError
from faces.folders import atomic_folder
from scripts.demo_parts.scene_painting import paint_scene

_TRAIN_CROPS, _CROPS = 80, 100
_BACKGROUNDS = ("brick", "chelsea", "coffee", "grass", "gravel", "motorcycle", "rocket", "moon")


def make_scenes(out: Path, seed: int = 0, train: int = 160, val: int = 40) -> None:
    """Write ``train + val`` scenes into the new folder ``out``, laid out as WIDER FACE is.

    That is ``WIDER_{train,val}/images/EVENT/*.jpg`` and
    ``wider_face_split/wider_face_{train,val}_bbx_gt.txt``. Faces are about 16 to 150 pixels high,
    up to nine in a scene; about one scene in twelve has none and one in eight an 'invalid' one.
    The same seed gives the same boxes everywhere, and the same pixels but for the last bit.

    Raises UserError when ``out`` holds something already, or where scikit-image was installed
    without its pictures.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name a new folder, or remove it first")
    crops, backgrounds = _sources()
    with atomic_folder(out) as folder:
        for split, count in (("train", train), ("val", val)):
            faces = crops[:_TRAIN_CROPS] if split == "train" else crops[_TRAIN_CROPS:]
            _make_split(folder, split, seed, count, faces, backgrounds)


def _make_split(
    folder: Path,
    split: str,
    seed: int,
    count: int,
    crops: Sequence[Image.Image],
    backgrounds: Sequence[Image.Image],
) -> None:
    lines: list[str] = []
    for index in tqdm(range(count), desc=f"painting {split}", unit="scene", disable=None):
        # A generator for each scene: the first ten are the same whatever their number.
        rng = np.random.default_rng([seed, split == "val", index])
        event = index % len(backgrounds)
        name = _BACKGROUNDS[event].capitalize()
        image, faces = paint_scene(rng, backgrounds[event], crops)
        # As in WIDER FACE no name is in two splits: by it a detector knows its training images.
        number = f"{int(split == 'val')}_{index}"
        path = Path(f"{event}--{name}", f"{event}_{name}_Scene_{number}.jpg")
        file = folder / f"WIDER_{split}" / "images" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file, quality=90)
        # WIDER FACE gives an image without faces one line of zeros.
        rows = [face.line() for face in faces] or ["0 " * 10]
        lines += [path.as_posix(), str(len(faces)), *rows]
    truth = folder / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
    truth.parent.mkdir(exist_ok=True)
    truth.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _sources() -> tuple[list[Image.Image], list[Image.Image]]:
    """The 100 face crops (gray) and the backgrounds (RGB)."""
    import skimage.data

    try:
        gray = (skimage.data.lfw_subset()[:_CROPS] * 255).round().astype(np.uint8)
        arrays = [
            skimage.data.stereo_motorcycle()[0]
            if name == "motorcycle"
            else getattr(skimage.data, name)()
            for name in _BACKGROUNDS
        ]
    except GONE as error:
        raise missing(error) from error
    return [Image.fromarray(a) for a in gray], [Image.fromarray(a).convert("RGB") for a in arrays]

"""A small data set of real faces for a first walk through the project; nothing is downloaded.

The faces are 100 crops of Labeled Faces in the Wild (25x25 pixels, gray; the first half of
``skimage.data.lfw_subset()``), tinted and painted onto people in front of pictures that come with
scikit-image and hold no face. 80 crops serve the training scenes and the other 20 the validation
scenes, so no face is in both. Everything but the faces is drawn: this shows how the project works
and is no substitute for photographs.

The two portraits of `portraits` and the photograph of `bystander` are in none of the scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from detector.data.scene_painting import paint_scene
from faces.errors import UserError
from faces.folders import atomic_folder

PORTRAIT_FACES: dict[str, tuple[int, int, int, int]] = {
    "eileen_collins": (178, 66, 271, 179),
    "grace_hopper": (172, 132, 354, 332),
}
"""Where the face is in each of `portraits`, ``x1 y1 x2 y2`` in pixels, from hairline (or brim) to
chin and without the ears, as WIDER FACE draws its boxes. Read off the pictures by eye, on a grid
of 10 pixels, for this project."""

BYSTANDER_FACE: tuple[int, int, int, int] = (196, 112, 256, 195)
"""Where the face is in `bystander`, drawn as those of `PORTRAIT_FACES` are."""

# ModuleNotFoundError: scikit-image looks for pooch to download what it does not have.
_GONE = (OSError, ModuleNotFoundError)
_TRAIN_CROPS, _CROPS = 80, 100
_BACKGROUNDS = ("brick", "chelsea", "coffee", "grass", "gravel", "motorcycle", "rocket", "moon")


def portraits() -> dict[str, NDArray[np.uint8]]:
    """Two whole photographs to detect on: RGB uint8 (H, W, 3) by name.

    Eileen Collins (NASA, public domain, from scikit-image) and Grace Hopper (US Navy, public
    domain, from matplotlib). Raises UserError where a package was installed without its pictures.
    """
    import matplotlib
    import skimage.data

    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    try:
        with Image.open(hopper) as image:
            grace = np.asarray(image.convert("RGB"))
        return {"eileen_collins": skimage.data.astronaut(), "grace_hopper": grace}
    except _GONE as error:
        raise _missing(error) from error


def bystander() -> NDArray[np.uint8]:
    """A third photograph, of somebody whom nobody introduces: RGB uint8 (512, 512, 3), but gray.

    A photographer at work, by Lav Varshney (CC0, from scikit-image). Raises UserError where that
    was installed without its pictures.
    """
    import skimage.data

    try:
        return np.repeat(skimage.data.camera()[..., None], 3, axis=2)
    except _GONE as error:
        raise _missing(error) from error


def brick_wall() -> NDArray[np.uint8]:
    """A gray texture, uint8 (512, 512), from CC0Textures through scikit-image (CC0).

    Raises UserError where that was installed without its pictures.
    """
    import skimage.data

    try:
        return np.asarray(skimage.data.brick())
    except _GONE as error:
        raise _missing(error) from error


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
        path = Path(f"{event}--{name}", f"{event}_{name}_Scene_0_{index}.jpg")
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
    except _GONE as error:
        raise _missing(error) from error
    return [Image.fromarray(a) for a in gray], [Image.fromarray(a).convert("RGB") for a in arrays]


def _missing(error: Exception) -> UserError:
    return UserError(
        f"a picture that comes with scikit-image or matplotlib is missing ({error}); install both "
        "packages again with pip"
    )

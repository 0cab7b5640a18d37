"""A small data set of real faces for a first walk through the project; nothing is downloaded.

The faces are 100 crops of Labeled Faces in the Wild (25x25 pixels, grey; the first half of
``skimage.data.lfw_subset()``), tinted and painted onto people in front of pictures that come with
scikit-image and hold no face. 80 crops serve the training scenes and the other 20 the validation
scenes, so no face is in both. Everything but the faces is drawn: this shows how the project works
and is no substitute for photographs.

The two portraits of `portraits` are in none of the scenes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.errors import UserError
from detector.files import atomic_write_text
from detector.scene_painting import paint_scene

PORTRAIT_FACES: dict[str, tuple[int, int, int, int]] = {
    "eileen_collins": (178, 66, 271, 179),
    "grace_hopper": (172, 132, 354, 332),
}
"""Where the face is in each of `portraits`, ``x1 y1 x2 y2`` in pixels, from hairline (or brim) to
chin and without the ears, as WIDER FACE draws its boxes. Read off the pictures by eye, on a grid
of 10 pixels, for this project."""

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
    except OSError as error:
        raise _missing(error) from error


def make_scenes(out: Path, seed: int = 0, train: int = 160, val: int = 40) -> None:
    """Write ``train + val`` scenes into the new folder ``out``, laid out as WIDER FACE is.

    That is ``WIDER_{train,val}/images/EVENT/*.jpg`` and
    ``wider_face_split/wider_face_{train,val}_bbx_gt.txt``. Faces are 16 to 150 pixels high, up to
    nine in a scene; about one scene in twelve has none and one in eight has an 'invalid' one. The
    same seed gives the same boxes everywhere, and the same pixels but for the last bit.

    Raises UserError when ``out`` holds something already, or where scikit-image was installed
    without its pictures.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name a new folder, or remove it first")
    crops, backgrounds = _sources()
    halves = {"train": crops[:_TRAIN_CROPS], "val": crops[_TRAIN_CROPS:]}
    for (split, faces), count in zip(halves.items(), (train, val), strict=True):
        lines: list[str] = []
        for index in range(count):
            # A generator for each scene: the first ten are the same whatever their number.
            rng = np.random.default_rng([seed, split == "val", index])
            event = index % len(backgrounds)
            name = _BACKGROUNDS[event].capitalize()
            image, found = paint_scene(rng, backgrounds[event], faces)
            path = Path(f"{event}--{name}", f"{event}_{name}_Scene_0_{index}.jpg")
            file = out / f"WIDER_{split}" / "images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file, quality=90)
            # WIDER FACE gives an image without faces one line of zeros.
            boxes = [face.line() for face in found] or ["0 " * 10]
            lines += [path.as_posix(), str(len(found)), *boxes]
        # Written last: where the list is, the images are.
        text = "".join(f"{line}\n" for line in lines)
        atomic_write_text(out / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt", text)


def _sources() -> tuple[list[Image.Image], list[Image.Image]]:
    """The 100 face crops (grey) and the backgrounds (RGB)."""
    import skimage.data

    try:
        grey = (skimage.data.lfw_subset()[:_CROPS] * 255).round().astype(np.uint8)
        arrays = [
            skimage.data.stereo_motorcycle()[0]
            if name == "motorcycle"
            else getattr(skimage.data, name)()
            for name in _BACKGROUNDS
        ]
    except (OSError, ModuleNotFoundError) as error:  # pooch, which would download, is not there
        raise _missing(error) from error
    return [Image.fromarray(a) for a in grey], [Image.fromarray(a).convert("RGB") for a in arrays]


def _missing(error: Exception) -> UserError:
    return UserError(
        f"a picture that comes with scikit-image or matplotlib is missing ({error}); install both "
        "packages again with pip"
    )

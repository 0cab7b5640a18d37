"""Three real photographs, and where the faces are in them; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError

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
GONE = (OSError, ModuleNotFoundError)


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
    except GONE as error:
        raise missing(error) from error


def bystander() -> NDArray[np.uint8]:
    """A third photograph, of somebody who is never enrolled: RGB uint8 (512, 512, 3), but gray.

    A photographer at work, by Lav Varshney (CC0, from scikit-image). Raises UserError where that
    was installed without its pictures.
    """
    import skimage.data

    try:
        return np.repeat(skimage.data.camera()[..., None], 3, axis=2)
    except GONE as error:
        raise missing(error) from error


def brick_wall() -> NDArray[np.uint8]:
    """A gray texture, uint8 (512, 512), from CC0Textures through scikit-image (CC0).

    Raises UserError where that was installed without its pictures.
    """
    import skimage.data

    try:
        return np.asarray(skimage.data.brick())
    except GONE as error:
        raise missing(error) from error


def missing(error: Exception) -> UserError:
    """What to say when a package was installed without its pictures."""
    return UserError(
        f"a picture that comes with scikit-image or matplotlib is missing ({error}); install both "
        "packages again with pip"
    )

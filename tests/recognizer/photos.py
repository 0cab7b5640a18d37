"""Two real faces that come with libraries which are installed anyway."""

from __future__ import annotations

import numpy as np
from matplotlib import cbook
from numpy.typing import NDArray
from PIL import Image
from skimage import data

ASTRONAUT_BOX = np.array([[178, 66, 270, 184]], np.float32)
HOPPER_BOX = np.array([[163, 90, 330, 320]], np.float32)


def astronaut() -> NDArray[np.uint8]:
    """Eileen Collins, 512 x 512 (NASA, public domain)."""
    return np.asarray(data.astronaut(), np.uint8)


def hopper() -> NDArray[np.uint8]:
    """Grace Hopper, 512 x 600 (US Navy, public domain)."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"), np.uint8)

"""Faces of LFW made small, blurred, compressed and dark, with what a gate could look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from faces.errors import UserError
from faces.images.read import read_image
from pipeline.live.tasks import face_quality, sharpness
from recognizer.data.photos import center_box
from recognizer.embedders.embedder import FaceEmbedder
from recognizer.quality import measure
from recognizer.shipped import shipped_file
from recognizer.types import unit

Image = Any
"""RGB uint8 (H, W, 3); to OpenCV's type stubs an array holds any numbers."""

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def _smaller(image: Image, side: float, pixels: float) -> Image:
    height, width = image.shape[:2]
    size = max(round(width * pixels / side), 1), max(round(height * pixels / side), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _enlarged(image: Image, side: float, pixels: float) -> Image:
    small = _smaller(image, side, pixels)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _blurred(image: Image, side: float, part: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), part * side)


def _moved(image: Image, side: float, part: float) -> Image:
    length = round(part * side)
    return cv2.filter2D(image, -1, np.full((1, length), 1 / length, np.float32))


def _compressed(image: Image, side: float, quality: float) -> Image:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


def _dark(image: Image, side: float, part: float) -> Image:
    """So much of the light, with the noise of a sensor."""
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return (image * part + noise).clip(0, 255).astype(np.uint8)


GOOD = "as they are"

WAYS: dict[str, tuple[Callable[[Image, float, float], Image], float]] = {
    GOOD: (lambda image, side, _: image, 0),
    **{f"{n} px": (_smaller, n) for n in (32, 24, 20, 16, 12)},
    **{f"{n} px, enlarged": (_enlarged, n) for n in (24, 16, 12)},
    **{f"blur {n} %": (_blurred, n / 100) for n in (2, 4)},
    "motion 15 %": (_moved, 0.15),
    **{f"JPEG {n}": (_compressed, n) for n in (10, 5)},
    **{f"light {n} %": (_dark, n / 100) for n in (20, 10)},
}
"""Longer side of the box in pixels, also enlarged to the size it had; blur (its sigma) and motion
as a part of that side; JPEG's quality; a part of the light."""


@dataclass(frozen=True, eq=False)
class Faces:
    """Photos in one way.

    Args:
        vectors: unit, float32 (N, D).
        measures: what a gate could look at, float64 (N,) each, more is better.
    """

    vectors: NDArray[np.float32]
    measures: dict[str, NDArray[np.float64]]


def raw_network(name: str, embedder: FaceEmbedder) -> Network:
    """Crops -> vectors before they are brought to unit length.

    Raises UserError for a network that does not divide them by their length.
    """
    module = getattr(embedder._network, "module", None)
    if module is not None:
        import torch

        def features(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                return module.features(torch.from_numpy(faces)).float().numpy()

        return features
    import onnx

    from faces.networks.onnx_session import open_session

    path = shipped_file("mini.onnx") if name in ("mini", "auto") else Path(name)
    model = onnx.load(path)
    last = next(n for n in model.graph.node if model.graph.output[0].name in n.output)
    if last.op_type != "Div":
        raise UserError(f"{path}: its vectors are not brought to unit length by a division")
    model.graph.output.append(onnx.ValueInfoProto(name=last.input[0]))
    session = open_session(path, "cpu", threads=1, content=model.SerializeToString())
    return lambda faces: session.run([last.input[0]], {session.get_inputs()[0].name: faces})[0]


def spoil(
    paths: Sequence[Path], way: str, embedder: FaceEmbedder, raw: Network
) -> tuple[Faces, NDArray[np.uint8]]:
    """Read, spoil, cut and embed each photo; the crops too, uint8 (N, S, S, 3)."""
    crops = []
    measures: dict[str, list[float]] = {"size": [], "sharpness": [], "quality": []}
    change, value = WAYS[way]
    for path in tqdm(paths, desc=way, unit=" photos", disable=None, leave=False):
        image = read_image(path)
        [box] = center_box(image)
        changed = change(image, float((box[2:] - box[:2]).max()), value)
        box = box * np.array([changed.shape[1] / image.shape[1]] * 4, np.float32)
        box = box.clip(0, [*changed.shape[1::-1]] * 2)
        crops.append(embedder.crop(changed, box[None])[0])
        found = measure(changed, box)
        edges = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        measures["size"].append(found.size)
        measures["sharpness"].append(found.sharpness)
        measures["quality"].append(face_quality(edges, 1.0, sharpness(changed, edges)))
    faces = np.stack(crops)
    vectors = np.concatenate([raw(faces[i : i + 32]) for i in range(0, len(faces), 32)])
    arrays = {name: np.array(values) for name, values in measures.items()}
    arrays["length"] = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return Faces(unit(vectors), arrays), faces

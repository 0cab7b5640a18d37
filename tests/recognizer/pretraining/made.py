"""A tiny teacher, and faces as `recognizer.pretraining.cache` keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from recognizer.crop import CropRecipe
from recognizer.data.photos import Located
from recognizer.pretraining.cache import Faces, Maker, Photo, collect
from recognizer.pretraining.students import Teacher

SIZE = 32
RECIPE = CropRecipe(SIZE, 0.0, "stretched")
"""Needs no landmarks, so any picture is a face."""


def make_teacher(size: int = SIZE, dimension: int = 8) -> bytes:
    """Like MobileFaceNet's file: a fixed batch of 1, which its last Reshape has built in."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(0, 1, (dimension, 3, size, size)).astype(np.float32) / size,
        "b": random.normal(0, 0.1, dimension).astype(np.float32),
    }
    target = numpy_helper.from_array(np.array([1, -1]))
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Constant", [], ["shape"], value=target),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, dimension])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def some_faces(count: int, side: int = SIZE, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth pictures, all different, uint8 (count, side, side, 3)."""
    random = np.random.default_rng(seed)
    faces = []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        faces.append(np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)))
    return np.stack(faces)


def photos(folder: Path, people: int, each: int, loose: int = 0) -> list[Photo]:
    """Pictures of people who look like themselves, and of nobody known, written to a folder."""
    found = []
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    for person, face in enumerate(some_faces(people, 48, seed=1)):
        for number in range(each):
            noisy = (face + random.normal(0, 6, face.shape)).clip(0, 255).astype(np.uint8)
            path = folder / f"{person}_{number}.png"
            Image.fromarray(noisy).save(path)
            found.append(Photo(path, person=f"p{person}"))
    for number, face in enumerate(some_faces(loose, 48, seed=2) if loose else []):
        Image.fromarray(face).save(folder / f"loose{number}.png")
        found.append(Photo(folder / f"loose{number}.png"))
    return found


def whole(image: NDArray[np.uint8]) -> Located:
    """The face is the whole picture."""
    return Located(np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32))


class Opener:
    """Opens a maker in any process; counts how often it was asked in this one."""

    def __init__(self, teacher: Path) -> None:
        self.teacher, self.opened = teacher, 0

    def __call__(self) -> Maker:
        self.opened += 1
        return Maker(RECIPE, Teacher(self.teacher, 1), whole)


def cached(folder: Path, people: int = 6, each: int = 4, loose: int = 8) -> tuple[Faces, list]:
    """Faces of a small collection and who is on each photo."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher = folder / "teacher.onnx"
    teacher.write_bytes(make_teacher())
    found = photos(folder / "photos", people, each, loose)
    faces = collect(found, folder / "faces", "made", Opener(teacher))
    return faces, [photo.person for photo in found]

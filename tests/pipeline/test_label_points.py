"""Points of annotated faces, found by networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from detector.data.voc.annotation import VocAnnotation, VocObject, read_voc, write_voc
from detector.types import Detections
from pipeline import label_points
from pipeline.label_points import InCrops
from scripts.main import main
from tests.detector.training.test_points import ASTRONAUT, FACE

OWN = ((200.0, 100.0), None, None, None, None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos: in the first a face, one that is marked already, a small and a difficult one."""
    folder = tmp_path / "photos ä"
    (folder / "images").mkdir(parents=True)
    Image.fromarray(astronaut()).save(folder / "images" / "a.png")
    Image.fromarray(astronaut()[:, ::-1].copy()).save(folder / "images" / "b.png")
    faces = (
        VocObject("face", FACE, attributes={"blur": "1"}),
        VocObject("face", FACE, landmarks=OWN),
        VocObject("face", (10, 10, 24, 24)),
        VocObject("face", FACE, difficult=True),
    )
    write_voc(folder / "annotations" / "a.xml", VocAnnotation("a.png", 512, 512, faces))
    write_voc(folder / "annotations" / "b.xml", VocAnnotation("b.png", 512, 512, ()))
    return folder


def read(out: Path) -> tuple[VocObject, ...]:
    return read_voc(out / "train" / "annotations" / "a.xml").objects


def test_the_command_marks_faces_and_keeps_the_rest(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (photos / "annotations" / "a.xml").read_bytes()
    out = tmp_path / "out"
    assert main(["prepare", "points", str(photos), "--out", str(out), "--quiet"]) == 0
    assert "2 faces: 1 got points, 1 had them, 0 are without" in capsys.readouterr().out
    new, marked, small, difficult = read(out)
    assert new.attributes == {"blur": "1"}
    assert new.xyxy == FACE
    off = np.array(new.landmarks) - ASTRONAUT
    assert np.linalg.norm(off, axis=1).max() < 5
    assert marked.landmarks == OWN
    assert small.landmarks == difficult.landmarks == ()
    assert {path.name for path in (out / "train" / "images").iterdir()} == {"a.png", "b.png"}
    assert (photos / "annotations" / "a.xml").read_bytes() == before

    assert main(["prepare", "points", str(photos), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["prepare", "points", str(photos), "--out", str(photos)]) == 2


Shift = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def second(shift: float) -> Callable[[NDArray[np.uint8]], Detections]:
    """A detector that finds the face of a crop, with its nose and mouth ``shift`` of its side off.

    In a crop of 160 pixels the face's square is the middle 80.
    """

    def detect(crop: NDArray[np.uint8]) -> Detections:
        scale = 80 / (FACE[3] - FACE[1])
        middle = np.array([(FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2])
        points = (np.array(ASTRONAUT) - middle) * scale + 80
        side = np.sqrt((FACE[2] - FACE[0]) * (FACE[3] - FACE[1])) * scale
        points[2:, 0] += shift * side
        half = np.array([(FACE[2] - FACE[0]) / 2, (FACE[3] - FACE[1]) / 2]) * scale
        box = [[*(80 - half), *(80 + half)]]
        return Detections.from_raw(box, [0.9], crop.shape[:2], points[None])

    return detect


@pytest.mark.parametrize(("shift", "known"), [(0.0, 5), (0.06, 5), (0.2, 2)])
def test_points_of_two_networks_are_taken_where_they_agree(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float, known: int
) -> None:
    own = InCrops(second(0.0))
    monkeypatch.setattr(
        label_points, "open_networks", lambda other, threads: [own, InCrops(second(shift))]
    )
    out = tmp_path / "out"
    assert main(["prepare", "points", str(photos), "--out", str(out), "--quiet"]) == 0
    points = read(out)[0].landmarks
    assert sum(point is not None for point in points) == known
    side = np.sqrt((FACE[2] - FACE[0]) * (FACE[3] - FACE[1]))
    assert points[0] == pytest.approx(ASTRONAUT[0], abs=0.02)
    if known == 5:  # the mean
        expected = (ASTRONAUT[2][0] + shift / 2 * side, ASTRONAUT[2][1])
        assert points[2] == pytest.approx(expected, abs=0.02)


def test_a_face_that_a_network_does_not_find_gets_no_points() -> None:
    nothing = InCrops(lambda crop: Detections.empty(crop.shape[:2]))
    elsewhere = InCrops(
        lambda crop: Detections.from_raw(
            [[0, 0, 30, 30]], [0.9], crop.shape[:2], np.zeros((1, 5, 2))
        )
    )
    box = np.array([FACE], np.float32)
    for network in (nothing, elsewhere):
        assert network(astronaut(), box)[1].tolist() == [False]


@pytest.mark.data
def test_yunet_and_onet_agree_on_a_face(shared_data: Path) -> None:
    file = shared_data / "weights" / "peers" / "yunet_n_dynamic.onnx"
    networks = label_points.open_networks(file, 1)
    first, other = (network(astronaut(), np.array([FACE], np.float32)) for network in networks)
    assert first[1].all()
    assert other[1].all()
    assert np.linalg.norm(first[0] - other[0], axis=2).max() < 0.1 * 106

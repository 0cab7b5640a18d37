"""Zones and the smallest face of a camera."""

from __future__ import annotations

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.live.area import Area, AreaFile
from pipeline.live.loop import Loop, LoopOptions
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector, know, picture

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def test_faces_count_by_their_center_and_size():
    rows = [[10, 10, 50, 50], [70, 10, 110, 50], [150, 10, 190, 50], [10, 60, 25, 75]]
    boxes = np.array(rows, np.float32)
    assert Area().holds(boxes, (100, 200)).tolist() == [True, True, True, False]
    assert Area((LEFT,)).holds(boxes, (100, 200)).tolist() == [True, True, False, False]
    assert Area((LEFT,), 10).holds(boxes, (100, 200)).tolist() == [True, True, False, True]
    hollow = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.45, 0.35), (0.0, 1.0))  # a W
    assert Area((hollow,)).holds(boxes, (100, 200)).tolist() == [True, True, True, False]
    assert Area((LEFT,)).holds(np.zeros((0, 4), np.float32), (100, 200)).shape == (0,)


def test_an_area_that_is_drawn_while_it_runs_holds_from_the_next_look_on():
    embedder = CountingEmbedder()
    both = {"Ada": (20, 30), "Bob": (220, 60)}
    with Loop(FakeDetector(), embedder, know(embedder, "Ada", "Bob")) as loop:
        assert len(loop.step(picture(0, both)).faces) == 2
        loop.area = Area((LEFT,))
        for i in range(1, 12):
            tick = loop.step(picture(i, both))
        assert [face.name for face in tick.faces] == ["Ada"]
    with Loop(FakeDetector(), embedder, know(embedder), LoopOptions(zones=(LEFT,))) as loop:
        assert len(loop.step(picture(0, both)).faces) == 1


@pytest.mark.parametrize(
    ("zones", "smallest", "message"),
    [
        ((((0, 0), (1, 1)),), 20, "3 to 50 corners, not 2"),
        ((((0, 0), (1, 1), (2, 0)),), 20, "0 to 1"),
        ((((0, 0), (1, 1), (float("nan"), 0)),), 20, "0 to 1"),
        ((LEFT,) * 21, 20, "a camera can have 20"),
        ((), 0, "at least 1 pixel"),
    ],
)
def test_what_is_no_area_is_refused(zones, smallest, message):
    with pytest.raises(UserError, match=message):
        Area(zones, smallest)


def test_areas_are_kept_in_a_file(tmp_path):
    path = tmp_path / "people.cameras.json"
    AreaFile(path).save("Tür", Area((LEFT,), 33))
    AreaFile(path).save("door", Area())
    assert AreaFile(path).areas == {"Tür": Area((LEFT,), 33), "door": Area()}
    path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    with pytest.raises(UserError, match=r"people\.cameras\.json should hold the cameras' zones"):
        AreaFile(path)
    (tmp_path / "file").write_text("x")
    made = AreaFile(tmp_path / "none")
    made.path = tmp_path / "file" / "x.json"
    with pytest.raises(UserError, match="cannot be kept in"):
        made.save("door", Area())
    assert made.areas == {}, "what is not on disk does not hold"


def test_two_programs_with_one_gallery_keep_each_others_zones(tmp_path):
    path = tmp_path / "people.cameras.json"
    door, garden = AreaFile(path), AreaFile(path)
    door.save("door", Area((LEFT,), 33))
    garden.save("garden", Area())
    door.save("door", Area((LEFT,), 40))
    assert AreaFile(path).areas == {"door": Area((LEFT,), 40), "garden": Area()}

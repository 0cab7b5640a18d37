"""Several cameras on the page: what is sent to whom, and the zones that come back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from faces.errors import UserError
from pipeline.live.area import Area, AreaFile
from pipeline.web.access import Access
from pipeline.web.app import make_app
from pipeline.web.broadcast import Broadcast
from pipeline.web.camera_switch import CameraSwitch, CameraTiles
from pipeline.web.liveness_check import LivenessCheck
from pipeline.web.viewers import IN_FLIGHT, Frame, Viewer
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.web.fakes import FakeLive, tick
from tests.pipeline.web.test_app import HEADERS, page, wait_for

TRIANGLE = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]


def watched(name: str) -> Any:
    """What `CameraTiles` uses of a camera."""
    source = SimpleNamespace(mirrored=False, status=None, ended=False, dropped=0)
    return SimpleNamespace(
        name=name, source=source, status=f"no picture from {name}", last=None,
        loop=SimpleNamespace(area=Area()),
    )  # fmt: skip


@pytest.fixture
def tiles(tmp_path: Path) -> CameraTiles:
    return CameraTiles([watched("door"), watched("Garden 2")], tmp_path / "people.cameras.json")


@pytest.fixture
def web(tiles: CameraTiles) -> Iterator[TestClient]:
    broadcast = Broadcast(FakeLive("Ada"), tiles)  # type: ignore[arg-type]
    with TestClient(make_app(broadcast, Access("127.0.0.1", None)), headers=HEADERS) as client:
        yield client
    broadcast.close()


def zones(camera: str = "door", **more: Any) -> dict[str, Any]:
    values = {"zones": [TRIANGLE], "min_face": 33, **more}
    return {"type": "zones", "id": 5, "camera": camera, **values}


def test_zones_drawn_on_the_page_hold_at_once_and_are_kept(web, tiles, tmp_path):
    with page(web) as socket:
        told = wait_for(socket, "state")["cameras"]
        assert [one["name"] for one in told] == ["door", "Garden 2"]
        assert told[0]["status"] == "no picture from door"
        socket.send_json(zones())
        assert wait_for(socket, "reply")["ok"]
        area = Area((tuple(map(tuple, TRIANGLE)),), 33)
        assert tiles._cameras["door"].loop.area == area
        assert AreaFile(tmp_path / "people.cameras.json").areas == {"door": area}
        told = wait_for(socket, "state")["cameras"]
        assert (told[0]["zones"], told[0]["min_face"]) == ([TRIANGLE], 33)
        assert told[1]["zones"] == []


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (zones("nobody"), "there is no camera called nobody"),
        (zones(zones=[[[0, 0], [1, 1]]]), "3 to 50 corners"),
        (zones(zones=[[[0, 0], [1, 1], [7, 0]]]), "0 to 1"),
        (zones(min_face=0), "at least 1 pixel"),
    ],
)
def test_zones_that_are_none_are_refused(web, tiles, ask, message):
    with page(web) as socket:
        socket.send_json(ask)
        reply = wait_for(socket, "reply")
        assert not reply["ok"]
        assert message in reply["error"]
        assert tiles._cameras["door"].loop.area == Area()


def test_one_camera_has_no_zones_and_tells_of_no_cameras():
    with pytest.raises(UserError, match="door=0"):
        CameraSwitch(None).set_area("camera 0", Area())
    assert CameraSwitch(None).describe() is None
    assert "camera" not in tick(3).faces.to_json()


def test_a_browser_takes_no_part_among_several_cameras(tiles):
    tiles.claim(object())
    assert tiles.owner is None
    assert tiles.camera is not None


def test_no_camera_uses_up_what_a_viewer_may_get_of_another():
    viewer, sent = Viewer(), []

    async def send() -> None:
        async def take(data: Any) -> None:
            sent.append(data)

        task = asyncio.create_task(viewer.send(take, take))
        for i in range(5):
            viewer.offer(Frame(i, 0.0, b"a%d" % i, "a"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(sent) == IN_FLIGHT
        assert not viewer.wants("a")
        assert viewer.wants("b")
        viewer.offer(Frame(0, 0.0, b"b0", "b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        viewer.shown(1, "b")  # never sent
        viewer.shown(1, "a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()

    with ThreadPoolExecutor(1) as thread:  # this one may have a loop, of a browser's driver
        thread.submit(asyncio.run, send()).result()
    assert sent == [b"a0", b"a1", b"b0", b"a4"]


def of(camera: str, index: int, track: int) -> Any:
    made = tick(index)
    face = replace(made.faces.faces[0], track=track)
    return replace(made, faces=replace(made.faces, camera=camera, faces=(face,)))


def test_a_check_knows_whether_its_camera_is_mirrored(tiles):
    check = LivenessCheck(FakeEmbedder(), lambda: None)  # type: ignore[arg-type,return-value]
    check.show(of("door", 1, 7))
    check.show(of("Garden 2", 2, 8))
    tiles._cameras["door"].source.mirrored = True
    for track, mirrored in ((7, True), (8, False)):
        check.begin(track, tiles.mirrored)
        assert check._running.attempt.challenge.policy.mirrored is mirrored


def test_a_check_looks_at_the_camera_that_shows_the_face():
    check = LivenessCheck(FakeEmbedder(), lambda: None)  # type: ignore[arg-type,return-value]
    check.show(of("door", 1, 7))
    check.show(of("garden", 2, 8))
    check.begin(7)
    check.show(of("garden", 3, 8))
    assert check._waiting is None, "a face at the same place in another picture"
    check.show(of("door", 4, 7))
    assert check._waiting.camera == "door"
    with pytest.raises(UserError, match="not in the picture"):
        check.begin(9)

"""What the page's address answers about a library."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipeline.library.page.shelf import Shelf
from pipeline.library.parts import write_manifest
from pipeline.library.people import Library
from pipeline.library.schema import Manifest
from pipeline.web.access import Access
from pipeline.web.app import make_app
from pipeline.web.broadcast import Broadcast
from pipeline.web.camera_switch import CameraSwitch
from pipeline.web.desk import LIMITS
from pipeline.web.library import MAX_BODY
from recognizer.rule import Thresholds
from recognizer.types import unit
from tests.pipeline.library.made import D, digest, face_row, make_library, vectors
from tests.pipeline.web.test_desk import BOX, HEADERS, World, photo

JPEG = b"\xff\xd8\xff"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Ada in three photos, of which one is gone, and Bob in two."""
    monkeypatch.setattr(
        "pipeline.library.people.default_thresholds", lambda _: Thresholds(gallery=0.6)
    )
    made = World(tmp_path / "people.db")
    rows = []
    for name, count in (("Ada", 3), ("Bob", 2)):
        for i in range(count):
            path = tmp_path / f"{name}{i}.png"
            path.write_bytes(photo(name, noise=i))
            box = dict(zip(("x1", "y1", "x2", "y2"), map(float, BOX), strict=True))
            own = unit(made.vector(name) + 0.35 * vectors(i, 1, 0.0)[0])  # no copies of one another
            rows.append(face_row(str(path), 0, own, width=320, height=240, **box))
    (tmp_path / "Ada2.png").unlink()
    folder = make_library(tmp_path / "lib", rows, made.embedder.fingerprint)
    made.desk.shelf = Shelf(Library(folder))
    assert made.desk.shelf._lists.wait(300)
    yield made
    made.desk.shelf.close()
    made.close()


@pytest.fixture
def web(world: World) -> Iterator[TestClient]:
    broadcast = Broadcast(world.live, CameraSwitch(None), world.desk)
    with TestClient(make_app(broadcast, Access("127.0.0.1", None)), headers=HEADERS) as client:
        yield client
    broadcast.close()


def told(web: TestClient, path: str, **asked: Any) -> dict[str, Any]:
    answer = web.get(f"/library/{path}", params=asked)
    assert answer.status_code == 200
    return answer.json()


def post(web: TestClient, path: str, **body: Any) -> dict[str, Any]:
    answer = web.post(f"/library/{path}", json=body)
    assert answer.status_code == 200
    return answer.json()


def test_the_page_is_told_and_decides(world, web):
    status = world.desk.status()["library"]
    assert status["kinds"]["unnamed"] == 2
    page = told(web, "people", kind="unnamed")
    assert [(row["name"], row["photos"]) for row in page["rows"]] == [(None, 3), (None, 2)]
    ada = page["rows"][0]["face"]
    answer = post(
        web, "decide", view=page["view"], do="name", faces=[ada], whole=True, name="Ada \u00c9"
    )
    assert answer == {"error": None}
    assert told(web, "people")["rows"][0]["name"] == "Ada \u00c9"
    photos = told(web, "photos", face=ada)
    assert [row["file"] for row in photos["rows"]] == ["Ada0.png", "Ada1.png", "Ada2.png"]
    assert photos["person"]["decided"]
    refused = post(web, "decide", view=7, do="name", faces=[ada], whole=True, name="Bob")
    assert "look at it again" in refused["error"]
    now = told(web, "people")["view"]
    refused = post(web, "decide", view=now, do="name", faces=[ada], whole=True, name=" ")
    assert refused["error"]
    [undo] = [world.desk.status()["library"]["undo"]]
    assert post(web, "undo", number=undo["number"]) == {"error": None}
    assert told(web, "people")["total"] == 0


def test_pictures_are_kept_by_the_browser_and_what_is_gone_has_a_placeholder(web):
    rows = told(web, "photos", face=told(web, "people", kind="unnamed")["rows"][0]["face"])["rows"]
    for path in ("face", "photo"):
        there, gone = (
            web.get(f"/library/{path}", params={"face": rows[i]["face"]}) for i in (0, 2)
        )
        assert there.content.startswith(JPEG)
        assert there.headers["cache-control"] == "private, max-age=3600"
        assert "default-src 'none'" in there.headers["content-security-policy"]
        assert (gone.status_code, gone.headers["content-type"]) == (200, "image/svg+xml")
        assert gone.headers["cache-control"] == "no-store", "it may come back"
    assert web.get("/library/face?face=../../x").headers["content-type"] == "image/svg+xml"
    assert web.get("/alive").headers["cache-control"] == "no-store"


def test_a_photo_is_searched_for_in_pages(world, web):
    answer = web.post("/library/search", content=photo("Ada", noise=9)).json()
    assert answer["faces"] == 1
    found = told(web, "found", key=answer["key"])
    assert [row["file"][:3] for row in found["rows"]] == ["Ada", "Ada", "Ada"]
    assert found["rows"][0]["similarity"] >= found["rows"][2]["similarity"] > 0.6
    assert told(web, "found", key=answer["key"], offset=2)["rows"] == found["rows"][2:]
    two = web.post("/library/search", content=photo("Ada", "Bob")).json()
    assert two["faces"] == 2
    for content, why in (
        (photo(), "no face was found"), (b"", "no image"), (b"GIF89a", "no image"),
        (b"0" * (LIMITS.max_bytes + 1), "more than 25 MB"),
    ):  # fmt: skip
        assert why in web.post("/library/search", content=content).json()["error"]
    assert "search again" in told(web, "found", key="x")["error"]
    folder = world.desk.shelf.library.folder
    write_manifest(folder, Manifest("made", "another-64", D, {}))
    world.desk.shelf.library.manifest = Manifest("made", "another-64", D, {})
    assert "--embedder" in web.post("/library/search", content=photo("Ada")).json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"number": -1}', b'{"view": 1, "do": "name"}',
        b'{"view":1,"do":"eat","faces":["0123456789abcdef-0"],"whole":true}',
        b'{"view":1,"do":"name","faces":["../x"],"whole":true}',
        b'{"view":1,"do":"name","faces":[],"whole":true}',
        b'{"view":1,"do":"ignore","faces":["0123456789abcdef-0"],"whole":1}',
        b" " * (MAX_BODY + 1),
    ],
)  # fmt: skip
def test_what_the_page_never_sends_is_refused(web, body):
    assert web.post("/library/decide", content=body).status_code == 400


@pytest.mark.parametrize("asked", ["-1", "x", "9" * 30, ""])
def test_an_offset_that_is_none_is_the_beginning(web, asked):
    assert len(told(web, "people", kind="unnamed", offset=asked)["rows"]) == 2
    assert told(web, "people", kind="no such", offset=asked)["total"] == 0


def test_other_sites_and_strangers_see_and_decide_nothing(world):
    paths = ["people", "photos", "found", "face", "photo"]
    broadcast = Broadcast(world.live, CameraSwitch(None), world.desk)
    with TestClient(make_app(broadcast, Access("127.0.0.1", None))) as web:
        for origin in (None, "http://evil.example", "null"):
            headers = {"host": "localhost:8420", **({"origin": origin} if origin else {})}
            for path in ("search", "decide", "undo"):
                assert web.post(f"/library/{path}", headers=headers).status_code == 403
            for path in paths if origin else []:
                assert web.get(f"/library/{path}", headers=headers).status_code == 403
        foreign = {"host": "evil.example"}
        assert {web.get(f"/library/{p}", headers=foreign).status_code for p in paths} == {403}
    with TestClient(make_app(broadcast, Access("0.0.0.0", "secret" * 5)), headers=HEADERS) as web:
        assert {web.get(f"/library/{path}").status_code for path in paths} == {401}
        assert web.post("/library/decide").status_code == 401


def test_without_a_library_there_is_none(world):
    shelf, world.desk.shelf = world.desk.shelf, None
    broadcast = Broadcast(world.live, CameraSwitch(None), world.desk)
    with TestClient(make_app(broadcast, Access("127.0.0.1", None)), headers=HEADERS) as web:
        assert world.desk.status()["library"] is None
        for path in ("people", "photos", "found", "face", "photo"):
            assert web.get(f"/library/{path}").status_code == 404
        assert web.post("/library/search", content=photo("Ada")).status_code == 404
    world.desk.shelf = shelf


def test_a_large_photo_comes_small(world, web, tmp_path):
    big = tmp_path / "big.jpg"
    Image.fromarray(np.full((4000, 6000, 3), 80, np.uint8)).save(big)
    rows = [face_row(str(big), 0, vectors(1, 1)[0], width=6000, height=4000)]
    make_library(world.desk.shelf.library.folder, rows, world.embedder.fingerprint)
    assert world.desk.shelf._lists.wait(300)
    data = web.get("/library/photo", params={"face": f"{digest(str(big))[:16]}-0"}).content
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.size == (1280, 853)

"""People, review and photos behind the page."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from starlette.testclient import TestClient

from faces.errors import UserError
from pipeline.live.loop import Loop
from pipeline.review.memory import Memory
from pipeline.teaching.corrections import AlreadyKnown
from pipeline.teaching.gathering import TeachOptions
from pipeline.teaching.session import LiveTeaching
from pipeline.web.access import Access
from pipeline.web.app import make_app
from pipeline.web.broadcast import Broadcast
from pipeline.web.browser import MAX_TEXT
from pipeline.web.camera_switch import CameraSwitch
from pipeline.web.commands import Commands
from pipeline.web.desk import LIMITS, Desk
from recognizer.gallery import Gallery
from recognizer.quality import Gates
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.store.address import Place
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.store.unknown import UnknownFace, keep
from recognizer.store.write import NewSample
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector, scene

HEADERS = {"host": "localhost:8420", "origin": "http://localhost:8420"}
BOX = np.array([50, 50, 90, 90], np.float32)


def photo(*names: str, noise: int = 0) -> bytes:
    """A PNG of these people."""
    image = scene({name: (50 + 90 * i, 50) for i, name in enumerate(names)}).astype(int)
    strength = np.random.default_rng(noise).integers(-70, 71, (60, 80, 3)) * (noise > 0)
    light = np.kron(strength, np.ones((4, 4, 1), int))
    image = np.where(image > 100, np.clip(image + light, 101, 255), image).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


class World:
    def __init__(self, path: Place) -> None:
        self.embedder = CountingEmbedder()
        self.store = Store.open(path, self.embedder.fingerprint, 64, Thresholds(0.7, 0.8))
        nobody = Snapshot(Gallery.empty(self.embedder.fingerprint, 64))
        loop = Loop(FakeDetector(), self.embedder, nobody)
        options = TeachOptions(pictures="all", gates=Gates(max_similarity=0.9995))
        self.live = LiveTeaching(loop, self.store, self.embedder, options, lambda *_: None)
        self.memory = Memory(self.store, timedelta(days=7))
        self.desk = Desk(self.live, self.memory, FakeDetector)

    def vector(self, name: str, noise: int = 0) -> np.ndarray:
        image = np.asarray(Image.open(io.BytesIO(photo(name, noise=noise))))
        return self.embedder.embed(self.embedder.crop(image, BOX[None]))[0]

    def sample(self, name: str, noise: int = 0) -> NewSample:
        image = np.asarray(Image.open(io.BytesIO(photo(name, noise=noise))))
        return NewSample(self.vector(name, noise), FacePicture.of(image, BOX), f"photo {noise}")

    def unknown(self, name: str, noise: int) -> None:
        made = self.sample(name, noise)
        now = "2030-01-01T00:00:00+00:00"
        face = UnknownFace(f"look {name}", made.embedding, made.picture, 0.5, "door", now)
        keep(self.store, [face], timedelta(days=7))

    def names(self) -> dict[str, int]:
        return {person.name: person.samples for person in self.store.people()}

    def close(self) -> None:
        self.memory.close()
        self.live.close()
        self.store.close()


@pytest.fixture
def world(new_place) -> Iterator[World]:
    made = World(new_place("people.db"))
    yield made
    made.close()


@pytest.fixture
def web(world) -> Iterator[TestClient]:
    broadcast = Broadcast(world.live, CameraSwitch(None), world.desk)
    with TestClient(make_app(broadcast, Access("127.0.0.1", None)), headers=HEADERS) as client:
        yield client
    broadcast.close()


def looked(world: World, *photos: bytes) -> list[dict[str, Any]]:
    return [world.desk.look(one, f"{i}.png") for i, one in enumerate(photos)]


def test_each_photo_tells_why_it_cannot_be_used(world):
    fine, two, none, junk = looked(
        world, photo("Ada"), photo("Ada", "Bob"), photo(), b"GIF89a is no photo"
    )
    assert (fine["reasons"], bool(fine["id"])) == ([], True)
    assert (two["id"], none["id"], junk["id"]) == (None, None, None)
    assert "2 faces were found" in two["reasons"][0]
    assert "no face" in none["reasons"][0]
    assert "no image" in junk["reasons"][0]
    assert world.names() == {}, "nobody is enrolled by looking"


def test_photos_enroll_by_the_one_rule_and_are_one_act(world):
    ids = [one["id"] for one in looked(world, photo("Ada"), photo("Ada", noise=1), photo("Ada"))]
    other = looked(world, photo("Cleo"))[0]["id"]
    reasons = world.desk.enroll("Ada", [*ids, other], False)
    assert list(reasons) == [ids[2], other]
    assert "near-duplicate" in reasons[ids[2]]
    assert "does not look like the other photos" in reasons[other]
    assert world.names() == {"Ada": 2}
    world.desk.undo(world.store.acts()[0].id)
    assert world.names() == {}
    with pytest.raises(UserError, match="drop them again"):
        world.desk.enroll("Ada", ids, False)


def test_photos_of_somebody_known_under_another_name_are_asked_about(world):
    world.store.add_samples({"Ada": [world.sample("Ada")]})
    again = looked(world, photo("Ada", noise=1))[0]["id"]
    with pytest.raises(AlreadyKnown, match="looks like Ada"):
        world.desk.enroll("Eve", [again], False)
    world.desk.enroll("Eve", [again], True)
    assert world.names() == {"Ada": 1, "Eve": 1}


def test_photos_of_somebody_else_under_a_known_name_are_asked_about(world):
    world.store.add_samples({"Ada": [world.sample("Ada")]})
    ids = [one["id"] for one in looked(world, *(photo("Cleo", noise=i) for i in range(3)))]
    with pytest.raises(AlreadyKnown, match="somebody called Ada already, who looks different"):
        world.desk.enroll("Ada", ids, False)
    assert world.names() == {"Ada": 1}
    world.desk.enroll("Ada", ids, True)
    assert world.names() == {"Ada": 4}


def test_a_page_of_a_person_shows_outliers_and_who_may_be_two(world):
    mixed = [world.sample("Ada", i) for i in range(4)] + [world.sample("Bob")]
    world.store.add_samples({"Ada": mixed})
    page = world.desk.person("Ada")
    odd = [sample for sample in page["samples"] if sample["outlier"] is not None]
    assert [sample["source"] for sample in odd] == ["photo 0"]
    assert odd[0]["id"] == page["samples"][4]["id"]
    others = [sample["id"] for sample in page["samples"] if sample["part"]]
    assert others == [odd[0]["id"]]
    world.desk.split("Ada", others, "Bob")
    assert world.names() == {"Ada": 4, "Bob": 1}
    world.desk.undo(None)
    world.desk.remove_samples("Ada", others)
    assert world.names() == {"Ada": 4}
    second = world.store.samples("Ada")[1]
    world.live.choose_picture("Ada", second.id)
    assert world.live.thumbnail("Ada") == second.picture.png
    world.desk.undo(None)
    assert world.live.thumbnail("Ada") == world.store.samples("Ada")[0].picture.png


def test_review_names_ignores_and_counts(world):
    for i in range(3):
        world.unknown("Ada", i)
        world.unknown("Bob", i)
    assert world.desk.status()["unknown"] == 6
    assert world.desk.status()["remember"] == 7 * 86400
    groups = world.desk.review()["groups"]
    assert [len(group["ids"]) for group in groups] == [3, 3]
    world.desk.name_unknown(groups[0]["ids"], "Somebody", False)
    world.desk.judge(groups[1]["ids"], "ignored")
    assert world.desk.review() == {"total": 0, "groups": []}
    assert world.names()["Somebody"] >= 2
    with pytest.raises(UserError, match="these faces are gone"):
        world.desk.judge(groups[1]["ids"], "not a face")
    world.desk.undo(None)
    world.desk.undo(None)
    assert world.desk.status()["unknown"] == 6
    assert world.names() == {}


def test_over_http(world, web):
    world.store.add_samples({"Ada": [world.sample("Ada")]})
    world.unknown("Bob", 0)
    person = web.get("/person", params={"name": "Ada"}).json()
    sample = person["samples"][0]["id"]
    face = web.get("/face", params={"sample": sample})
    assert (face.status_code, face.headers["content-type"]) == (200, "image/png")
    [group] = web.get("/review").json()["groups"]
    assert web.get("/face", params={"unknown": group["ids"][0]}).content.startswith(b"\x89PNG")
    assert web.get("/person?name=Nobody").json() is None  # no error in a browser's console
    for path in ("/face?sample=99", "/face?sample=x", "/face"):
        assert web.get(path).status_code == 404
    good = web.post("/photo?file=ada.png", content=photo("Ada", noise=2)).json()
    assert good["reasons"] == []
    huge = web.post("/photo", content=b"0" * (LIMITS.max_bytes + 1)).json()
    assert huge == {"id": None, "reasons": ["more than 25 MB"]}


def test_no_other_site_can_send_photos(web):
    for origin in (None, "http://evil.example", "null"):
        headers = {"host": "localhost:8420", **({"origin": origin} if origin else {})}
        web.headers.clear()
        assert web.post("/photo", content=photo("Ada"), headers=headers).status_code == 403


def test_the_longest_commands_are_understood():
    fields = {"name": "A", "ids": [123456] * 5000}
    assert len(json.dumps({"type": "name", "id": 1, **fields})) <= MAX_TEXT
    named: list[int] = []
    desk = SimpleNamespace(name_unknown=lambda ids, name, sure: named.extend(ids))
    commands = Commands(SimpleNamespace(desk=desk, live=None))  # type: ignore[arg-type]
    commands.do_name(**fields)
    assert named == fields["ids"]
    with pytest.raises(ValidationError, match="at least 1"):
        commands.do_judge(ids=[], verdict="ignored")

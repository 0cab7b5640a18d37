"""What the service answers and refuses, without a transport."""

from __future__ import annotations

import io
import threading
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.inference.detect import FaceDetector
from detector.inference.resize import Resize
from pipeline.service.audit import entries, verify
from pipeline.service.runtime.limits import Limits
from recognizer import sample_rule
from recognizer.blank import Blank
from recognizer.quality import Gates
from recognizer.store.people import Store
from tests.pipeline.service.asking import ask, begin, refusal
from tests.pipeline.service.fakes import FakeDetector, draw, encode, make_service, photo

# -- faces


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_detect_finds_the_faces_of_each_image(service, kind):
    answer = ask(service, "detect", photo(1, 2, kind=kind), photo(kind=kind))
    first, second = answer.images
    assert (first.width, first.height, len(first.faces)) == (320, 240, 2)
    assert second.faces == []
    if kind == "PNG":
        assert first.faces[0].box == (10, 20, 74, 84)
        assert first.faces[0].liveness is None


def test_pictures_are_resized_beside_the_model_and_boxes_brought_back():
    finder, threads = FakeDetector(), []

    class Noted(Resize):
        def __call__(self, image):
            threads.append(threading.current_thread().name)
            return super().__call__(image)

    def network(batch):
        found = [finder.detect(picture) for picture in batch]
        return [(faces.xyxy, faces.score) for faces in found]

    service = make_service(detector=FaceDetector(network, Noted("fit", 320, 1)))
    big = encode(np.kron(draw(1, 2), np.ones((2, 2, 1), np.uint8)))  # 640 pixels wide
    (image,) = ask(service, "detect", big).images
    service.close()
    np.testing.assert_allclose(image.faces[0].box, (20, 40, 148, 168), atol=2)
    assert (image.width, len(image.faces)) == (640, 2)
    assert all(name.startswith("decode") for name in threads)


def test_exif_orientation_is_honored(service):
    turned = Image.fromarray(np.rot90(draw(1), -1))  # stored so that it must be turned back by 90
    exif = Image.Exif()
    exif[0x0112] = 8
    file = io.BytesIO()
    turned.save(file, "JPEG", exif=exif, quality=95)
    (image,) = ask(service, "detect", file.getvalue()).images
    assert (image.width, image.height) == (320, 240)
    np.testing.assert_allclose(image.faces[0].box, (10, 20, 74, 84), atol=2)


def test_min_score_and_max_faces(tmp_path):
    service = make_service(tmp_path, limits=Limits(max_faces=2))
    assert len(ask(service, "detect", photo(1, 2, 3)).images[0].faces) == 2
    (face,) = ask(service, "detect", photo(1, 2, 3), min_score=0.985).images[0].faces
    assert face.score == pytest.approx(0.99)
    service.close()


def test_embed_gives_unit_vectors_in_the_order_of_images_and_faces(service):
    answer = ask(service, "embed", photo(1, 2), photo(), photo(2))
    one, two = (np.array(face.embedding) for face in answer.images[0].faces)
    (again,) = (np.array(face.embedding) for face in answer.images[2].faces)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert two @ again > 0.999 > one @ again
    assert answer.contract == "fake-32-64-0"


def test_verify_compares_two_photos(service):
    assert ask(service, "verify", photo(5), photo(5, size=80)).same
    answer = ask(service, "verify", photo(5), photo(6))
    assert not answer.same
    assert answer.similarity < answer.threshold
    error = refusal(service, "verify", photo(5), photo(5, 6))
    assert (error.code, error.details) == ("several_faces", {"image": 1, "faces": 2})
    assert refusal(service, "verify", photo(), photo(5)).code == "no_face"
    assert refusal(service, "verify", photo(5)).code == "invalid_request"
    assert len(ask(service, "verify", photo(5), photo(5, 6), largest=True).faces) == 2


# -- people


def test_a_person_is_known_right_after_enrolling(service, tmp_path):
    answer = ask(service, "enroll", photo(1), photo(1, 2), photo(), name="Ada")
    assert answer.added == 1
    assert [(r.image, r.code) for r in answer.refused] == [(1, "several_faces"), (2, "no_face")]
    found = ask(service, "recognize", photo(2, 1)).images[0].faces
    assert [(face.name, face.source) for face in found] == [(None, "none"), ("Ada", "gallery")]
    with Store.open_existing(tmp_path / "people.db") as store:  # it was on the disk already
        assert store.snapshot().gallery.people == ("Ada",)


def test_enrolling_needs_one_usable_photo(service):
    error = refusal(service, "enroll", photo(), photo(1, 2), name="Ada")
    assert error.code == "no_face"
    assert [refused["code"] for refused in error.details["refused"]] == ["no_face", "several_faces"]
    assert ask(service, "people").people == []


def test_a_photo_that_shows_too_little_is_poor_and_force_does_not_help(tmp_path, monkeypatch):
    class All(Blank):
        def refusal(self, embedding: np.ndarray) -> str | None:
            return "blank: nothing to be seen"

    monkeypatch.setattr(sample_rule, "find_blank", lambda *args: All(np.zeros(2), 0.0))
    service = make_service(tmp_path, gates=Gates())
    for force in (False, True):
        error = refusal(service, "enroll", photo(1), photo(2), name="Ada", force=force)
        assert error.code == "poor_photo"
        assert [refused["code"] for refused in error.details["refused"]] == ["poor_photo"] * 2
        assert "force" not in error.message
    assert ask(service, "people").people == []


def test_gates_refuse_poor_and_repeated_photos(tmp_path):
    gates = Gates(min_size=70, max_similarity=0.99)
    service = make_service(tmp_path, gates=gates)
    error = refusal(service, "enroll", photo(1), name="Ada")
    assert (error.code, error.details["refused"][0]["code"]) == ("poor_photo", "poor_photo")
    assert "64 px, at least 70" in error.message
    answer = ask(service, "enroll", photo(1), *[photo(1, size=90)] * 2, name="Ada")
    assert answer.added == 1
    assert [(r.image, r.code) for r in answer.refused] == [
        (0, "poor_photo"),
        (2, "duplicate_photo"),
    ]
    again = ask(service, "enroll", photo(1, size=90), name="Ada")  # sent twice: no error, no change
    assert (again.added, again.version) == (0, answer.version)
    service.close()


def test_somebody_who_is_known_under_another_name_is_pointed_out(service):
    assert ask(service, "enroll", photo(1), name="Ada").looks_like is None
    assert ask(service, "enroll", photo(1), name="Adele").looks_like == "Ada"


def test_somebody_else_under_a_known_name_needs_force(service):
    ask(service, "enroll", photo(1), photo(1, size=80), name="Ada")
    error = refusal(service, "enroll", photo(2), name="Ada")
    assert error.code == "another_face"
    assert "image 0: does not look like the other photos of Ada (" in error.message
    assert error.details["refused"][0]["code"] == "another_face"
    answer = ask(service, "enroll", photo(1, size=100), photo(2), name="Ada")
    assert [(r.image, r.code) for r in answer.refused] == [(1, "another_face")]
    assert ask(service, "enroll", photo(2), name="Ada", force=True).added == 1


def test_pictures_are_kept_only_when_asked_for(tmp_path):
    for keep in (False, True):
        service = make_service(tmp_path / str(keep), keep_crops=keep)
        ask(service, "enroll", photo(1), name="Ada")
        service.close()
        with Store.open_existing(tmp_path / str(keep) / "people.db") as store:
            (sample,) = store.samples("Ada")
            assert (sample.picture is not None) is keep


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\x00b", "Unknown", 5, None])
def test_names_that_cannot_be(service, name):
    assert refusal(service, "enroll", photo(1), name=name).code == "invalid_request"


def test_people_can_be_listed_renamed_and_forgotten(service, tmp_path):
    for person, name in enumerate(["Cleo", "Ada", "Bob"]):
        ask(service, "enroll", photo(person), name=name)
    people = ask(service, "people", offset=1, limit=1)
    assert (people.total, [(p.name, p.photos) for p in people.people]) == (3, [("Bob", 1)])
    version = ask(service, "people/rename", name="Bob", new_name="Robert").version
    assert version > people.version
    assert ask(service, "recognize", photo(2)).images[0].faces[0].name == "Robert"
    assert refusal(service, "people/rename", name="Bob", new_name="B").code == "not_found"
    assert refusal(service, "people/rename", name="Ada", new_name="Cleo").code == "conflict"
    ask(service, "people/forget", name="Robert")
    assert ask(service, "recognize", photo(2)).images[0].faces[0].name is None
    assert refusal(service, "people/forget", name="Robert").code == "not_found"
    assert verify(tmp_path / "audit.jsonl").problem is None
    found = [(e["action"], e["state"]) for e in entries(tmp_path / "audit.jsonl", "Robert")]
    assert found == [(a, s) for a in ("rename_to", "forget") for s in ("begun", "done")]
    assert "Robert" not in (tmp_path / "audit.jsonl").read_text(encoding="utf-8")


def test_a_face_is_said_not_to_be_somebody_and_that_is_undone(service, tmp_path):
    ask(service, "enroll", photo(1), name="Ada")
    assert refusal(service, "people/deny", photo(1), name="Bob").code == "not_found"
    ask(service, "people/deny", photo(1), name="Ada")
    assert ask(service, "recognize", photo(1)).images[0].faces[0].name is None
    again = refusal(service, "enroll", photo(1), name="Ada")
    assert again.code == "another_face"
    assert "somebody has said" in again.message
    undone = ask(service, "people/undo")
    assert undone.what == "this is not Ada"
    assert ask(service, "recognize", photo(1)).images[0].faces[0].name == "Ada"
    assert refusal(service, "people/undo", act=undone.act).code == "conflict"
    ask(service, "people/undo")
    assert refusal(service, "people/undo").code == "not_found"
    actions = [entry["action"] for entry in entries(tmp_path / "audit.jsonl")]
    assert [actions.count(one) for one in ("enroll", "deny", "undo")] == [2, 2, 4]


def test_what_another_program_changes_is_seen(service, tmp_path):
    vector = np.array(ask(service, "embed", photo(7)).images[0].faces[0].embedding, np.float32)
    with Store.open_existing(tmp_path / "people.db") as other:
        other.add("Grace", vector[None])
    until = time.monotonic() + 60
    while ask(service, "recognize", photo(7)).images[0].faces[0].name != "Grace":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_store_that_fails_is_an_answer_of_its_own(service, tmp_path, monkeypatch, caplog):
    from faces.errors import UserError

    def fail(*_: Any, **__: Any) -> None:
        raise UserError("/secret/people.db: the disk is full (Ada)")

    monkeypatch.setattr(Store, "apply", fail)
    error = refusal(service, "enroll", photo(1), name="Ada")
    assert (error.code, error.status) == ("storage_failed", 503)
    assert "secret" not in error.message
    assert "Ada" not in caplog.text + str([r.__dict__.get("fields") for r in caplog.records])
    states = [entry["state"] for entry in entries(tmp_path / "audit.jsonl")]
    assert states == ["begun", "failed"]


def test_a_server_without_people_says_so():
    service = make_service()
    for name, images in [("recognize", 1), ("embed", 1), ("verify", 2), ("people", 0), ("fit", 0)]:
        assert refusal(service, name, *[photo(1)] * images).code == "unavailable"
    info = ask(service, "info")
    assert (info.contract, info.people) == (None, None)
    assert ask(service, "detect", photo(1)).images[0].faces
    service.close()


# -- jobs


def test_a_fit_runs_once_at_a_time_and_tells_its_progress(tmp_path):
    go = threading.Event()

    def fit(store: Store, progress: Any) -> dict[str, Any]:
        progress(0.5, "half way")
        go.wait(10)
        return {"people": len(store.people())}

    service = make_service(tmp_path, fit=fit)
    assert refusal(service, "fit/status").code == "not_found"
    job = ask(service, "fit")
    assert refusal(service, "fit").code == "conflict"
    half = ask(service, "fit/status", job=job.job, seen=0, wait=5)
    assert (half.state, half.progress, half.message) == ("running", 0.5, "half way")
    start = time.monotonic()
    assert ask(service, "fit/status", seen=half.news, wait=0.1).news == half.news
    assert 0.09 < time.monotonic() - start < 30
    go.set()
    done = ask(service, "fit/status", seen=half.news, wait=5)
    assert (done.state, done.result) == ("done", {"people": 0})
    assert ask(service, "fit").state == "running"
    service.close()


def test_a_fit_that_fails_says_why(tmp_path):
    from faces.errors import UserError

    def fit(store: Store, progress: Any) -> dict[str, Any]:
        raise UserError("two people are needed")

    service = make_service(tmp_path, fit=fit)
    ask(service, "fit")
    job = ask(service, "fit/status", seen=0, wait=5)
    assert (job.state, job.message) == ("failed", "two people are needed")
    service.close()


def test_a_bug_spoils_one_request_and_is_logged_without_names(service, caplog, monkeypatch):
    class Odd(Exception):
        pass

    real = FakeDetector.detect_batch

    def fail(self: FakeDetector, images: Any) -> Any:
        if any(image.shape[0] == 100 for image in images):
            raise Odd("Ada")
        return real(self, images)

    monkeypatch.setattr(FakeDetector, "detect_batch", fail)
    futures = [begin(service, "detect", photo(1, height=100 if i == 2 else 240)) for i in range(4)]
    codes = [getattr(future.exception(10), "code", "ok") for future in futures]
    assert codes == ["ok", "ok", "internal", "ok"]
    (record,) = [r for r in caplog.records if r.getMessage() == "a bug"]
    assert "Odd" in record.fields["error"]
    assert "Ada" not in str(record.fields)


def test_fit_people_teaches_a_head_that_is_in_use_at_once(tmp_path):
    from pipeline.service.handlers.fitting import fit_people

    service = make_service(tmp_path, fit=fit_people)
    ask(service, "fit")
    job = ask(service, "fit/status", seen=0, wait=10)
    assert (job.state, job.message) == ("failed", "nobody is enrolled")
    for person in range(4):
        ask(service, "enroll", *[photo(person, size=s) for s in (50, 64, 80)], name=f"P{person}")
    job = ask(service, "fit")
    while job.state == "running":
        job = ask(service, "fit/status", seen=job.news, wait=10)
    assert job.state == "done", job.message
    assert (job.progress, job.result["people"], job.result["photos"]) == (1, 4, 12)
    assert ask(service, "info").head is True
    (face,) = ask(service, "recognize", photo(2)).images[0].faces
    assert face.name == "P2"
    assert face.confidence is not None
    service.close()

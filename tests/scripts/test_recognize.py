"""`faces recognize`: who is on which photo, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faces.images.read import read_image
from recognizer.store.people import Store
from scripts.main import main
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.people_photos import PatchDetector, person, photo, save


@pytest.fixture(autouse=True)
def anna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick networks, and one person who is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "recognizer.embedders.load.load_embedder",
        lambda name, weights, **more: FakeEmbedder(),
    )
    monkeypatch.setattr(
        "detector.inference.load.load_detector", lambda path, **options: PatchDetector()
    )
    save(Path("anna.png"), person(1))
    assert main(["enroll", "Anna", "anna.png", "--quiet"]) == 0
    save(Path("photos/a.png"), person(2), person(1, variant=1))
    save(Path("photos/trip/b.jpg"))


def test_a_line_for_each_photo_says_who_is_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["recognize", "photos", "--quiet"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    a, b = Path("photos/a.png"), Path("photos/trip/b.jpg")
    assert first.startswith(f"{a}: unknown, Anna (0.")  # from left to right
    assert second == f"{b}: no face"
    assert not Path("named").exists()


def test_pictures_and_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--out", "photos/named", "--json", "lines.jsonl", "--quiet"]
    assert main(["recognize", "photos", *flags]) == 0
    capsys.readouterr()
    drawn = read_image(Path("photos/named/a.png"))
    plain = photo(person(2), person(1, variant=1))
    assert drawn.shape == plain.shape
    assert (drawn != plain).any()
    assert (read_image(Path("photos/named/trip/b.jpg")) == 128).all()
    lines = [json.loads(line) for line in Path("lines.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == ["photos/a.png", "photos/trip/b.jpg"]
    assert (lines[0]["width"], lines[0]["height"]) == (400, 300)
    by_place = sorted(lines[0]["faces"], key=lambda face: face["box"][0])
    assert [face["name"] for face in by_place] == [None, "Anna"]
    assert {"score", "similarity", "confidence", "nearest"} <= by_place[1].keys()
    assert not {"embedding", "track", "agreement"} & by_place[1].keys()
    # What was written is not looked at the next time.
    assert main(["recognize", "photos", "--out", "photos/named", "--json", "-", "--quiet"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert again == lines


def test_a_photo_that_cannot_be_read_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["recognize", "photos", "--quiet"]) == 1
    output = capsys.readouterr()
    assert "broken.png: cannot read the image" in output.err
    assert len(output.out.splitlines()) == 2


def test_a_folder_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], close_folder: Callable[[Path], None]
) -> None:
    close_folder(Path("photos/trip"))
    assert main(["recognize", "photos", "--quiet"]) == 1
    output = capsys.readouterr()
    assert "trip: the folder cannot be read: Permission denied" in output.err
    assert len(output.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("recognize photos --gallery other.db", "there is no gallery other.db: make it with"),
        ("recognize nothing", "nothing"),
        ("recognize film.mp4", "film.mp4 is a film: name who is in it with `faces run`"),
        ("recognize photos --out photos", "would replace the original"),
        ("recognize photos --out anna.png", "--out anna.png is a file: name a folder"),
    ],
)
def test_bad_input(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("film.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err
    assert not Store.exists(Path("other.db"))


def test_two_photos_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    import faces

    analyzer = faces.FaceAnalyzer(PatchDetector(), FakeEmbedder(), "people.db")
    one, other = photo(person(1)), photo(person(1, variant=2))
    found = analyzer.verify(one, other)
    assert found.same
    assert found.threshold < found.similarity < 1
    assert [face.name for face in found.faces] == ["Anna", "Anna"]
    different = analyzer.verify(one, photo(person(3)))
    assert not different.same
    assert repr(different).startswith("Verification(different, similarity ")
    two = photo(person(3, side=60), person(1))
    with pytest.raises(faces.UserError, match="the second photo: 2 faces were found"):
        analyzer.verify(one, two)
    assert analyzer.verify(one, two, largest=True).same
    with pytest.raises(faces.UserError, match="the first photo: no face was found"):
        analyzer.verify(np.full((50, 50, 3), 128, np.uint8), one)

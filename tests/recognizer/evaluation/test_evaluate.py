"""The sections put together: whose photos, which threshold, what is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from recognizer.data.lfw import Lfw
from recognizer.data.photos import Photos
from recognizer.error_rates import Scores, roc
from recognizer.evaluation import figures
from recognizer.evaluation import identification as ident
from recognizer.evaluation.evaluate import Setup, draw, evaluate
from recognizer.evaluation.report import Operating, choose_threshold, thin
from recognizer.evaluation.tables import format_report
from recognizer.gallery import Gallery, Head
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from tests.recognizer.evaluation.cases import people

SETUP = Setup("a set", "c", "in words", fmr=0.01, enroll=2)


def case(counts, **options):
    faces = people(counts, **options)
    names = [f"p{number:02d}" for number in faces.person]
    files = tuple(f"{name}/{i}.jpg" for i, name in enumerate(names))
    photos = Photos(tuple(map(Path, files)), files, tuple(names))
    return photos, {"ours": faces.embeddings}, faces.failed


def listed(photos, folds=2):
    """Genuine pairs of neighbors and impostor pairs further apart, folds by person."""
    person = photos.person
    rows = [
        (i, j, person[i] == person[j], person[i] % folds + 1)
        for i in range(len(person))
        for j in range(i + 1, len(person))
        if person[i] % folds == person[j] % folds
    ]
    first, second, same, fold = map(np.array, zip(*rows, strict=True))
    return Lfw(photos.paths, photos.people, first, second, same, fold)


@pytest.mark.slow
def test_a_whole_judgment_as_json_text_and_pictures(tmp_path):
    photos, vectors, failed = case([4] * 12 + [1] * 60, dimension=8, noise=0.8, failed=[3])
    vectors["noise"] = np.where(failed[:, None], 0, np.roll(vectors["ours"], 2, axis=0))
    vectors["noise"][5] = vectors["ours"][0]  # whose vector was that of the photo without a face
    labels = {"kind": ["a" if i % 2 else "b" for i in photos.person]}
    found = evaluate(photos, vectors, failed, SETUP, pairs=listed(photos), labels=labels)
    report = found.report
    json.dumps(report, allow_nan=False)
    assert (report["photos"], report["people"], report["failed"]) == (108, 72, 1)
    assert report["failed_photos"] == [photos.names[3]]
    for section in ("listed_pairs", "every_pair", "identification"):
        assert [result["name"] for result in report[section]["results"]] == ["ours", "noise"]
    ours, noise = report["every_pair"]["results"]
    assert ours["auc"] > 0.85 > 0.75 > noise["auc"]
    assert report["every_pair"]["genuine"] == 12 * 6
    assert report["identification"]["nonmated"] == 60
    rule = report["identification"]["results"][0]["rule"]
    assert rule["origin"].startswith("FMR 0.01 over ")
    assert "of these very photos" in rule["origin"]
    assert rule["fpir"] > 0.01  # everyone enrolled is a chance to be mistaken
    assert [group["group"] for group in report["groups"]["kinds"][0]["groups"]] == ["a", "b"]

    text = format_report(report)
    for words in (
        "108 photos of 72 people; faces: in words; 1 photo without a face",
        "LFW, 2 folds",
        "0.001 needs 10,000",
        "12 people enrolled",
        "largest FMR ratio",
        "threshold of ours: FMR 0.01",
    ):
        assert words in text

    faces = {i: np.full((16, 16, 3), 9, np.uint8) for w in found.worst for i in (w.first, w.second)}
    written = draw(found, tmp_path, faces)
    assert sorted(path.name for path in written) == [
        "confusion.png",
        "cosines.png",
        "groups.png",
        "identification.png",
        "roc-pairs.png",
        "roc.png",
        "worst.png",
    ]
    assert all(Image.open(path).width > 300 for path in written)


def test_tested_folds_have_no_say_in_any_threshold():
    photos, vectors, failed = case([4] * 30, dimension=8, noise=0.8)
    pairs = listed(photos)
    setup = Setup("a set", "c", "boxes", fmr=0.01, enroll=2, test_folds=(2,))
    found = evaluate(photos, vectors, failed, setup, pairs=pairs)
    assert found.report["people"] == 15
    assert "of the other folds" in found.operating.origin
    (result,) = found.report["listed_pairs"]["results"]
    assert result["standard_error"] is None
    assert result["interval"][0] < result["accuracy"] < result["interval"][1]
    assert "tested on fold 2, with the threshold that is best on fold 1" in format_report(
        found.report
    )
    # Other vectors for the tested people change their figures but no threshold.
    spoiled = vectors["ours"].copy()
    rows = photos.person % 2 == 1
    spoiled[rows] = np.roll(spoiled[rows], 3, axis=0)
    other = evaluate(photos, {"ours": spoiled}, failed, setup, pairs=pairs)
    assert other.operating == found.operating
    assert other.report["every_pair"]["results"] != found.report["every_pair"]["results"]


def test_a_given_threshold_is_taken():
    photos, vectors, failed = case([4] * 8)
    setup = Setup("a set", "c", "boxes", threshold=Operating(0.42, "given"), enroll=2)
    found = evaluate(photos, vectors, failed, setup)
    assert found.operating == Operating(0.42, "given")
    rule = found.report["identification"]["results"][0]["rule"]
    assert rule["thresholds"]["gallery"] == 0.42


def test_with_too_few_pairs_for_the_rate_the_nearest_stranger_decides():
    photos, vectors, failed = case([2, 2])
    found = evaluate(photos, vectors, failed, SETUP)
    assert "are too few" in found.operating.origin
    assert found.report["every_pair"]["results"][0]["tar"][0]["tar"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "words"),
    [([6], "there is one person only"), ([1] * 6, "no person has two photos")],
)
def test_one_person_or_one_photo_each(counts, words, caplog, tmp_path):
    photos, vectors, failed = case(counts)
    found = evaluate(photos, vectors, failed, SETUP)
    assert words in format_report(found.report)
    json.dumps(found.report, allow_nan=False)
    faces = {i: np.zeros((8, 8, 3), np.uint8) for i in range(len(photos))}
    assert (tmp_path / "roc.png") not in draw(found, tmp_path, faces)
    if counts == [1] * 6:
        assert "nobody has more than 2 photos" in caplog.text
        assert "identification" not in found.report


def test_one_photo_is_not_enough():
    photos, vectors, failed = case([1])
    with pytest.raises(UserError, match="there are 1 photos, evaluation needs two"):
        evaluate(photos, vectors, failed, SETUP)


def test_a_gallery_with_its_own_head_and_thresholds():
    photos, vectors, failed = case([4] * 6, noise=0.2)
    known = photos.person < 3
    names = np.array(photos.people, object)
    first = np.array([np.flatnonzero(photos.person == p)[0] for p in range(3)])
    gallery = Gallery("c", tuple(names[first[:2]]), vectors["ours"][first[:2]])
    # The third person is known to the head alone, which is sure of everything.
    head = Head("c", (names[first[2]], None), np.stack([vectors["ours"][first[2]] * 50] * 2) * [[1], [-1]], np.zeros(2))  # fmt: skip  # noqa: E501
    snapshot = Snapshot(gallery, head, Thresholds(0.9, 0.5), 7)
    found = evaluate(photos, vectors, failed, SETUP, snapshot=snapshot)
    section = found.report["identification"]
    assert (section["enrolled"], section["mated"], section["nonmated"]) == (3, known.sum(), 12)
    rule = section["results"][0]["rule"]
    assert rule["head"] is True
    assert rule["thresholds"] == {"head": 0.9, "gallery": 0.5}
    assert rule["origin"] == "the gallery's own"
    decided = snapshot.identify(vectors["ours"])
    assert rule["by"] == {
        kind: sum(match.source == kind for match in decided) for kind in ("head", "gallery", "none")
    }
    wrong = [m.name != n for m, n, k in zip(decided, names, known, strict=True) if k]
    assert rule["fnir"] == pytest.approx(np.mean(wrong))
    named = [m.name is not None for m, k in zip(decided, known, strict=True) if not k]
    assert rule["fpir"] == pytest.approx(np.mean(named))


def test_a_threshold_by_rate_needs_pairs_enough():
    scores = Scores(np.array([0.9]), np.linspace(0, 0.5, 1000))
    found = choose_threshold(scores, 0.01, "of a test")
    assert found.origin == "FMR 0.01 over 1,000 impostor pairs of a test"
    assert float(scores.fmr(found.threshold)) <= 0.01
    assert choose_threshold(scores, 0.001, "of a test") is None


def test_a_thinned_curve_keeps_its_ends_and_lies_on_the_whole_one():
    random = np.random.default_rng(0)
    curve = roc(Scores(random.uniform(0, 1, 500), random.uniform(-0.5, 0.6, 5000)))
    points = thin(curve)
    assert len(points) <= 100
    whole = set(zip(curve.threshold, curve.fmr, 1 - curve.fnmr, strict=True))
    assert {(p["threshold"], p["fmr"], p["tar"]) for p in points} <= whole
    assert points[0]["fmr"] == 0
    assert (points[-1]["fmr"], points[-1]["tar"]) == (1, 1)
    assert thin(None) is None


@pytest.mark.parametrize(
    ("enrolled", "failed", "words"),
    [
        (["p00", "p01"], [], "no probes of strangers"),
        (["p00"], [], None),
        ([], [], "no probes of enrolled people"),
        (["p00"], [4, 5, 6, 7], "no named strangers"),
    ],
)
def test_identification_is_drawn_whoever_the_probes_are_of(
    enrolled, failed, words, tmp_path, monkeypatch
):
    photos, vectors, failures = case([4, 4], failed=failed)
    gallery = Gallery("c", ("nobody", *enrolled), vectors["ours"][: 1 + len(enrolled)])
    found = ident.search(gallery, vectors["ours"], failures, photos.people)
    kept = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: kept.append(figure))
    figures.draw_identification(tmp_path / "a.png", {"ours": found}, "")
    right = kept[0].axes[1]
    assert [text.get_text() for text in right.texts] == ([words] if words else [])
    kept[0].canvas.draw()


def test_nothing_to_draw_draws_nothing(tmp_path):
    nothing = Scores(np.empty(0), np.array([-1.0]))
    assert not figures.draw_cosines(tmp_path / "a.png", nothing, 0.5, "")
    assert not figures.draw_roc(tmp_path / "a.png", {}, {}, "")
    assert not figures.draw_worst(tmp_path / "a.png", [], {}, [], 0.5)
    assert not list(tmp_path.iterdir())

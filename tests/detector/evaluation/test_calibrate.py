"""The score calibration of a detector: measured, stored, and what it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detector import load_detector
from detector.checkpoint import checkpoint_config, load_checkpoint
from detector.config import preset
from detector.data.submission import scored_boxes
from detector.evaluation.calibrate import calibrate_scores
from detector.evaluation.matching import ImageFaces, Matches, match
from detector.evaluation.truth import read_voc_truth
from detector.model import build_model
from faces.errors import UserError
from scripts.main import main
from tests.small_export import CONFIG, talkative_model, write_checkpoint
from tests.tiny import TINY_MODEL, make_voc


def matches(right: list[float], wrong: list[float], images: int) -> Matches:
    """Faces that are found with the scores ``right``, and false positives of ``wrong``."""
    rows = {
        name: np.array([(60.0 * i, 0.0, 60.0 * i + 50, 50.0, s) for i, s in enumerate(scores)])
        for name, scores in (("0", right), ("1", wrong))
    }
    faces = rows["0"].reshape(-1, 5)[:, :4]
    truth = [ImageFaces("0", faces, np.zeros(len(right), bool))]
    truth += [ImageFaces(str(i), np.zeros((0, 4)), np.zeros(0, bool)) for i in range(1, images)]
    return match(truth, rows)


def test_the_lowest_score_with_no_more_false_positives_than_wanted() -> None:
    some = matches([0.9, 0.6, 0.3], [0.8, 0.5, 0.4, 0.2], 10)
    found = calibrate_scores(some, 0.2)  # two of ten; the third has 0.4
    assert 0.4 < found.score < 0.5
    assert (found.false_positives, found.images, found.faces, found.found) == (0.2, 10, 3, 2)
    assert found.interval == pytest.approx((0.0242, 0.7225), abs=1e-3)  # exact, of two counts
    assert not found.lowest
    assert 0.5 < calibrate_scores(some, 0.1).score < 0.6
    everything = calibrate_scores(some, 5.0)
    assert (everything.lowest, everything.found) == (True, 3)
    assert 0.19 < everything.score < 0.2


def test_false_positives_of_one_score_stay_together() -> None:
    found = calibrate_scores(matches([0.9], [0.7, 0.7, 0.7], 10), 0.2)
    assert 0.7 < found.score < 0.9
    assert found.false_positives == 0


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match=r"0\.05 false positives .* on 10 pictures.*at least 20"):
        calibrate_scores(matches([0.9], [0.7], 10), 0.05)
    with pytest.raises(UserError, match="finds nothing at all"):
        calibrate_scores(matches([], [], 10), 1.0)


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    data = make_voc(tmp_path / "data", 6)
    return [
        "--image-path", str(data / "images"), "--annotation-dir", str(data / "annotations"),
        "--false-positives", "0.5", "--threads", "1", "--quiet",
    ]  # fmt: skip


def false_positives(model: Path, data: Path) -> int:
    """At the default threshold, counted again."""
    from faces.images.read import read_image

    truth, images = read_voc_truth(data / "annotations", data / "images")
    detector = load_detector(model)
    found = {i.name: scored_boxes(detector.detect(read_image(images[i.name]))) for i in truth}
    return int(match(truth, found).false_positive.sum())


@pytest.mark.slow
def test_a_checkpoint_is_calibrated_in_place_and_kept(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, model=replace(CONFIG.model, score_calibration=0.2, temperature=0.7))
    model = write_checkpoint(tmp_path / "best.pt", talkative_model(config), config)
    before, bytes_before = load_checkpoint(model), model.read_bytes()
    assert false_positives(model, tmp_path / "data") > 3
    assert main(["calibrate", str(model), *flags]) == 0
    assert 0 < false_positives(model, tmp_path / "data") <= 3  # 0.5 on each of six
    after = load_checkpoint(model)
    found = after["provenance"]["calibration"]
    assert checkpoint_config(after).model.score_calibration == found["score"] != 0.2
    assert found["images"] == 6
    assert all(torch.equal(before["weights"][k], v) for k, v in after["weights"].items())
    assert (tmp_path / "best.uncalibrated.pt").read_bytes() == bytes_before
    assert "best.uncalibrated.pt" in capsys.readouterr().out
    # Again: measured from the plain scores, so the same; and the first file stays.
    assert main(["calibrate", str(model), *flags]) == 0
    assert load_checkpoint(model)["provenance"]["calibration"] == found
    assert (tmp_path / "best.uncalibrated.pt").read_bytes() == bytes_before
    assert main(["calibrate", str(model), *flags, "--out", str(tmp_path / "sub" / "new.pt")]) == 0
    assert load_checkpoint(tmp_path / "sub" / "new.pt")["provenance"]["calibration"] == found


@pytest.mark.slow
def test_with_out_the_checkpoint_stays(tmp_path: Path, flags: list[str]) -> None:
    model = write_checkpoint(tmp_path / "best.pt", talkative_model())
    before = model.read_bytes()
    assert main(["calibrate", str(model), *flags, "--out", str(tmp_path / "new.pt")]) == 0
    assert model.read_bytes() == before
    assert not (tmp_path / "best.uncalibrated.pt").exists()
    assert (
        load_checkpoint(tmp_path / "new.pt")["config"]["model"]["score_calibration"]
        != CONFIG.model.score_calibration
    )


@pytest.mark.usefixtures("small_reference")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{model}", "needs --image-path"),
        ("{model} --folders crowd", "not both"),
        ("--folders crowd --image-path x", "need a detector's MODEL.pt"),
        ("shipped --image-path x --annotation-dir x", "name a file with --out"),
        ("absent.pt --image-path x --annotation-dir x", "there is no detector absent.pt"),
        ("{reference} --image-path x --annotation-dir x", "`reference` network"),
        ("{model} --image-path x --annotation-dir x --out {folder}", "is a folder"),
        ("{model} --false-positives 0", "--false-positives must be positive"),
        ("", "--folders DIR or --lfw DIR, or a detector's MODEL.pt"),
    ],
)
def test_mistakes_are_one_line(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"model": tmp_path / "best.pt", "reference": tmp_path / "r.pt", "folder": tmp_path}
    if "{model}" in arguments:
        write_checkpoint(files["model"], build_model(TINY_MODEL))
    if "{reference}" in arguments:
        config = preset("reference")
        config = replace(config, model=replace(TINY_MODEL, arch="reference"))
        write_checkpoint(files["reference"], build_model(config.model), config)
    assert main(["calibrate", *arguments.format(**files).split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_exported_file_is_calibrated_at_its_source(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from detector.shipped import find_model

    assert main(["calibrate", str(find_model("shipped")), *flags]) == 2
    assert "calibrate the checkpoint that it was made from" in capsys.readouterr().err

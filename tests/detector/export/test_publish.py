"""Exported files: what is in them, on which inputs they agree, and when they are not published."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from detector.config import preset, to_dict
from detector.export import publish as export
from detector.export.parity import Case, Outcome, check, draw_crowd
from detector.export.publish import ParityError, export_checkpoint, run_checkpoint, run_exported
from detector.export.quantize import Agreement
from detector.inference.load import load_detector
from detector.inference.metadata import EXTRA_FILE, Artifact
from detector.inference.resize import Resize
from detector.inference.script_backend import read_extra_file
from detector.inference.torch_backend import open_checkpoint
from detector.model import build_model
from detector.training_pictures import pictures_of
from faces.errors import CannotWrite, UserError
from faces.images.find import find_images
from faces.images.read import read_image
from faces.networks.onnx_session import onnxruntime
from tests.conftest import EXPORT_SOURCES, Keep
from tests.small_export import (
    CONFIG,
    PICTURES,
    PROVENANCE,
    SmallExport,
    talkative_model,
    write_checkpoint,
)

SIZES = [
    *((1, 32, 32), (2, 32, 64), (5, 64, 96), (1, 96, 96)),
    *((1, 224, 672), (1, 640, 96), (3, 416, 288)),
]
"""(batch, height, width)"""


def test_exactly_these_files_are_written(small_export: SmallExport) -> None:
    names = {path.name for path in small_export.folder.iterdir()}
    files = {"small.onnx", "small.torchscript"}
    assert names == {"small.pt", *files, *(f"{name}.parity.json" for name in files)}


def test_files_know_the_training_pictures(small_export: SmallExport) -> None:
    for path in (small_export.checkpoint, small_export.onnx, small_export.torchscript):
        artifact = load_detector(path, device="cpu").artifact
        assert artifact is not None
        assert pictures_of(artifact.pictures, artifact.provenance) == PICTURES


def test_every_report_says_that_its_file_passed(small_export: SmallExport) -> None:
    for path in (small_export.onnx, small_export.torchscript):
        values = json.loads(path.with_name(path.name + ".parity.json").read_text(encoding="utf-8"))
        assert values["passed"] is True
        assert values["file"] == path.name
        cases = {case["case"]: case for case in values["cases"]}
        assert cases["crowd"]["faces"] > 300
        assert cases["no face"]["faces"] == 0
        assert cases["640x480"]["compared"] > 20
        assert len({tuple(case["size"]) for case in cases.values()}) >= 6


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_any_size_and_batch_agrees_with_the_checkpoint(
    small_export: SmallExport, format: export.Format
) -> None:
    agree_on_sizes(small_export.checkpoint, small_export.folder / f"small.{format}", format)


def agree_on_sizes(checkpoint: Path, path: Path, format: export.Format) -> None:
    """Many sizes, batches and thresholds, those included at which nothing is found."""
    random = np.random.default_rng(1)
    cases = [
        Case(f"{size}", np.stack([draw_crowd(*size[1:], 9, random) for _ in range(size[0])]), t)
        for size in SIZES
        for t in (0.02, 0.3, 1.0)
    ]
    model, _ = open_checkpoint(checkpoint)
    outcomes = check(run_checkpoint(model), run_exported(path, format), cases, 0.4, 750)
    assert [outcome for outcome in outcomes if not outcome.passed] == []
    assert sum(outcome.compared for outcome in outcomes) > 100


def test_the_onnx_file_is_plain_and_current(small_export: SmallExport) -> None:
    model = onnx.load(small_export.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version >= 18) for opset in model.opset_import] == [("", True)]
    assert {node.domain for node in model.graph.node} == {""}
    assert len(model.functions) == 0
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert len(inferred.graph.value_info) > 100


def test_the_onnx_file_says_what_it_takes_and_gives(small_export: SmallExport) -> None:
    session = onnxruntime.InferenceSession(small_export.onnx)
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape == ["batch", "height", "width", 3]
    optional = {value.name: value.shape for value in session.get_overridable_initializers()}
    assert optional == {"score_threshold": [], "nms_threshold": []}
    outputs = [(value.name, value.type, value.shape) for value in session.get_outputs()]
    assert outputs == [
        ("boxes", "tensor(float)", ["faces", 4]),
        ("scores", "tensor(float)", ["faces"]),
        ("image", "tensor(int64)", ["faces"]),
    ]


def test_left_out_thresholds_are_the_networks_own(small_export: SmallExport) -> None:
    session = onnxruntime.InferenceSession(small_export.onnx)
    images = draw_crowd(160, 224, 30, np.random.default_rng(2))[None]
    own = {"score_threshold": np.float32(0.005), "nms_threshold": np.float32(0.5)}
    given = {name: np.asarray(value) for name, value in own.items()}
    for a, b in zip(
        session.run(None, {"images": images}),
        session.run(None, {"images": images, **given}),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    script = torch.jit.load(str(small_export.torchscript))
    for a, b in zip(
        script(torch.from_numpy(images)), script(torch.from_numpy(images), 0.005, 0.5), strict=True
    ):
        assert torch.equal(a, b)


def test_every_file_describes_itself(small_export: SmallExport) -> None:
    proto = onnx.load(small_export.onnx)
    words = {entry.key: entry.value for entry in proto.metadata_props}
    assert words["format"] == "faces-detector-export"
    assert words["version"] == "1"
    assert json.loads(words["config"]) == to_dict(CONFIG)
    assert json.loads(words["classes"]) == ["face"]
    provenance = json.loads(words["provenance"])
    assert provenance.items() >= {**PROVENANCE, "checkpoint": "small.pt"}.items()
    assert torch.__version__ in provenance["exported_with"]
    assert json.loads(words["thresholds"]) == {"score": 0.005, "nms": 0.5}
    how = json.loads(words["input"])
    assert how["resize"] == {"mode": "fit", "side": 640, "multiple": 32}
    assert how["pad_colour"] == [124, 116, 104]
    others = read_extra_file(small_export.torchscript)
    assert others.keys() == words.keys()
    assert others["config"] == words["config"]
    loaded = {EXTRA_FILE: ""}
    torch.jit.load(str(small_export.torchscript), _extra_files=loaded)
    assert json.loads(loaded[EXTRA_FILE]) == read_extra_file(small_export.torchscript)


def test_no_path_of_this_machine_is_left_in_the_onnx_file(small_export: SmallExport) -> None:
    content = small_export.onnx.read_bytes()
    assert str(Path(__file__).parents[3]).encode() not in content
    assert b"site-packages" not in content


def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every later export has one weight that is a little wrong."""
    original = export.serialize

    def serialize(model, artifact, format):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            model = talkative_model()
            model.roi_heads.box_predictor.bbox_pred.bias += 0.01
        return original(model, artifact, format)

    monkeypatch.setattr(export, "serialize", serialize)


@pytest.mark.slow
def test_a_file_that_differs_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "small.pt", talkative_model())
    target = tmp_path / "out" / "small.torchscript"
    target.parent.mkdir()
    target.write_text("an older file", encoding="utf-8")
    spoiled(monkeypatch)
    with pytest.raises(ParityError, match=r"small\.torchscript was not written: on '640x480'.*px"):
        export_checkpoint(checkpoint, tmp_path / "out", ["torchscript"])
    assert target.read_text(encoding="utf-8") == "an older file"
    names = sorted(path.name for path in target.parent.iterdir())
    assert names == ["small.torchscript", "small.torchscript.parity.json"]
    report = json.loads((target.parent / names[1]).read_text(encoding="utf-8"))
    assert report["passed"] is False
    worst = max(case["box_error"] for case in report["cases"])
    assert 0.01 < worst < 10


@pytest.mark.slow
def test_a_failing_exporter_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "small.pt", talkative_model())

    def fail(*_: object) -> bytes:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(export, "serialize", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        export_checkpoint(checkpoint, tmp_path / "out", ["onnx"])
    assert [path.name for path in tmp_path.rglob("*")] == ["small.pt"]


def compared(monkeypatch: pytest.MonkeyPatch, faces: int) -> None:
    """Exporting takes no time, and both sides find so many faces and agree."""
    one = SimpleNamespace(resize=lambda photo: SimpleNamespace(pixels=photo))
    outcome = Outcome("crowd", (1, 64, 64), 0.02, faces, faces, 0, 0, 0.0, 0.0)
    for name, value in {
        "serialize": b"network", "check": [outcome], "run_exported": None, "run_checkpoint": None,
        "divide": ([], []), "load_detector": one, "quantize": b"", "file_digest": "",
        "agreement": Agreement(8, faces, 1.0),
    }.items():  # fmt: skip
        monkeypatch.setattr(export, name, lambda *_, value=value, **__: value)


def published(path: Path, format: export.Format) -> export.Exported:
    if format == "int8":
        return export.publish_int8(path, b"", path, [])
    model: Any = SimpleNamespace(roi_heads=SimpleNamespace(detections_per_img=1))
    return export.publish(model, Artifact(CONFIG), path, format, [])


@pytest.mark.parametrize("format", ["onnx", "int8"])
def test_no_report_says_passed_of_a_file_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: export.Format
) -> None:
    def full(path: Path) -> None:
        raise CannotWrite(errno.ENOSPC, "No space left on device", str(path))

    compared(monkeypatch, 5)
    monkeypatch.setattr(export, "atomic_write", full)
    with pytest.raises(UserError, match=r"cannot write .*a\.onnx: the disk is full"):
        published(tmp_path / "a.onnx", format)
    assert list(tmp_path.iterdir()) == []


def test_agreement_on_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for faces in (5, 0):
        compared(monkeypatch, faces)
        made = published(tmp_path / "a.onnx", "onnx")
        assert json.loads(made.report.read_text(encoding="utf-8"))["compared"] == faces
        assert ("finds no face in any case, so that a.onnx agrees says" in caplog.text) == (
            not faces
        )


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("pt2", r"\.pt2 is no longer written.*take onnx or torchscript"),
        ("tflite", "'tflite' is none"),
    ],
)
def test_other_formats_are_refused(
    small_export: SmallExport, tmp_path: Path, format: export.Format, message: str
) -> None:
    with pytest.raises(UserError, match=f"formats: {message}"):
        export_checkpoint(small_export.checkpoint, tmp_path / "out", [format])
    assert not (tmp_path / "out").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no detector"):
        export_checkpoint(tmp_path / "none.pt")


@pytest.mark.usefixtures("small_reference")
@pytest.mark.slow(30)
def test_the_reference_is_exported_as_well(keep: Keep) -> None:
    """Made once and kept, with its reports, until what decides about the files changes."""

    def make(folder: Path) -> None:
        config = preset("reference")
        config = replace(config, model=replace(config.model, backbone_weights="none"))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_model(config.model, pretrained=False)
        with torch.no_grad():
            model.roi_heads.box_predictor.cls_score.weight *= 30
        export_checkpoint(write_checkpoint(folder / "reference.pt", model, config))

    folder = keep("reference_export", [*EXPORT_SOURCES, Path(__file__)], make)
    for format in ("onnx", "torchscript"):
        path = folder / f"reference.{format}"
        assert path.is_file()
        about = json.loads((folder / f"{path.name}.parity.json").read_text(encoding="utf-8"))
        assert about["passed"]
        assert sum(case["compared"] for case in about["cases"]) > 100


@pytest.mark.data
@pytest.mark.slow
def test_real_crowds_agree(shared_data: Path, small_export: SmallExport) -> None:
    """Photos, portrait and landscape, at their own sizes."""
    files = find_images(shared_data / "widerface" / "WIDER_val" / "images")[::25]
    resize = Resize()
    cases = [Case(file.name, resize(read_image(file)).pixels[None].copy(), 0.02) for file in files]
    model, _ = open_checkpoint(small_export.checkpoint)
    for format in ("onnx", "torchscript"):
        path = small_export.folder / f"small.{format}"
        outcomes = check(run_checkpoint(model), run_exported(path, format), cases, 0.4, 750)
        assert [outcome for outcome in outcomes if not outcome.passed] == []

"""A checkpoint becomes files that run anywhere; a file that differs from it is never published."""

from __future__ import annotations

import datetime
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from detector.export.graph import example_images, face_graph
from detector.export.parity import Case, Found, Outcome, Run, check, make_cases, report
from detector.export.quantize import LOWEST, Agreement, agreement, divide, quantize
from detector.inference.load import load_detector
from detector.inference.metadata import EXTRA_FILE, Artifact, inference_resize
from detector.inference.onnx_backend import OnnxNetwork, open_onnx
from detector.inference.openvino_backend import OpenVinoNetwork, open_ir, save_ir
from detector.inference.script_backend import ScriptNetwork, open_script
from detector.inference.torch_backend import TorchNetwork, open_checkpoint
from detector.model import FaceRCNN
from detector.shipped import INT8
from detector.training_pictures import pictures_of
from faces.errors import UserError
from faces.files import atomic_write, atomic_write_text, file_digest

log = logging.getLogger(__name__)

Format = Literal["onnx", "int8", "torchscript", "openvino"]
FORMATS: tuple[Format, ...] = ("onnx", "int8", "torchscript", "openvino")
USUAL: tuple[Format, ...] = ("onnx", "torchscript")


class ParityError(UserError):
    """An exported file does not give what its checkpoint gives; it was not published."""


@dataclass(frozen=True)
class Exported:
    """One published file.

    Args:
        report: the JSON file beside it that says how it compares with the checkpoint.
        outcomes: the same in memory; none for an int8 file.
        agreement: how an int8 file compares with the float32 one; None for others.
    """

    path: Path
    report: Path
    outcomes: list[Outcome]
    agreement: Agreement | None = None


def export_checkpoint(
    checkpoint: Path,
    folder: Path | None = None,
    formats: Sequence[str] = USUAL,
    pictures: Sequence[NDArray[np.uint8]] = (),
    calibrate: Sequence[NDArray[np.uint8]] = (),
) -> list[Exported]:
    """Write ``checkpoint`` in each of ``formats``: compare first, then publish.

    Args:
        folder: where to; None is beside the checkpoint. The files have the checkpoint's name.
        formats: which ones; "int8" brings "onnx", the file that it belongs to.
        pictures: RGB uint8 (H, W, 3) of any size to compare on besides the built-in cases.
        calibrate: photos, likewise, that an int8 file is calibrated on and compared on.

    Raises UserError for a checkpoint that cannot be read or another format, `ParityError` for a
    file that differs from it: the report is written all the same, and an older file of that name
    stays as it was.
    """
    chosen = check_formats(formats)
    if "int8" in chosen:
        divide(calibrate)  # before minutes are spent
    model, artifact = open_checkpoint(checkpoint)
    learned = pictures_of(artifact.pictures, artifact.provenance)
    artifact = replace(
        artifact,
        pictures="" if learned is None else learned.to_text(),
        provenance={
            **artifact.provenance,
            "checkpoint": checkpoint.name,
            "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "exported_with": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        },
    )
    resize = inference_resize(artifact.config.model, artifact.config.data)
    cases = make_cases([resize(picture).pixels for picture in pictures])
    folder = checkpoint.parent if folder is None else folder
    suffixes = {"openvino": ".xml", "int8": INT8}
    written: list[Exported] = []
    for format in chosen:
        path = folder / f"{checkpoint.stem}{suffixes.get(format, f'.{format}')}"
        if format == "int8":
            content = serialize(model, artifact, "int8")
            written.append(publish_int8(written[0].path, content, path, calibrate))
        else:
            written.append(publish(model, artifact, path, format, cases))
    return written


def check_formats(formats: Sequence[str]) -> list[Format]:
    """``formats``, if all of them are in `FORMATS`; otherwise UserError."""
    for format in formats:
        if format == "pt2":
            raise UserError(
                "formats: .pt2 is no longer written, because opening such a file runs expressions "
                "that stand in it; take onnx or torchscript"
            )
        if format not in FORMATS:
            raise UserError(f"formats: {format!r} is none of {', '.join(FORMATS)}")
    return [f for f in FORMATS if f in formats or (f == "onnx" and "int8" in formats)]


def publish(
    model: FaceRCNN, artifact: Artifact, path: Path, format: Format, cases: Sequence[Case]
) -> Exported:
    """Write one format to ``path`` if it gives what ``model`` gives; see `export_checkpoint`."""
    log.info("exporting %s", path)
    content = serialize(model, artifact, format)
    report_path = path.with_name(path.name + ".parity.json")
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        if format == "openvino":
            (Path(folder) / "whole.onnx").write_bytes(content)
            save_ir(Path(folder) / "whole.onnx", trial, artifact)
        else:
            trial.write_bytes(content)
        log.info("comparing %s with the checkpoint on %d cases", path.name, len(cases))
        outcomes = check(
            run_checkpoint(model), run_exported(trial, format), cases,
            artifact.nms_threshold, model.roi_heads.detections_per_img,
        )  # fmt: skip
        # OpenVINO's .bin is published before the .xml that needs it.
        written = [trial.with_suffix(".bin"), trial] if format == "openvino" else [trial]
        files = {file.name: file.read_bytes() for file in written}
    about = report(outcomes, file=path.name, format=format, provenance=artifact.provenance)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if not (failed or about["compared"]):
        log.warning(
            "the checkpoint finds no face in any case, so that %s agrees says nothing: train it "
            "longer, or compare on photos in which it finds some (images)", path.name,
        )  # fmt: skip
    # The report is last: where the file cannot be written, none says that it passed.
    for name, content in ({} if failed else files).items():
        with atomic_write(path.with_name(name)) as file:
            file.write(content)
    atomic_write_text(report_path, json.dumps(about, indent=2) + "\n")
    if failed:
        first = failed[0]
        raise ParityError(
            f"{path} was not written: on {first.case!r} it differs from the checkpoint by "
            f"{first.box_error:.4f} px{first.of_points} and {first.score_error:.1e} in score, and "
            f"{first.missing} faces are in one only ({len(failed)} of {len(outcomes)} cases "
            f"failed). See {report_path}"
        )
    return Exported(path, report_path, outcomes)


def publish_int8(
    whole: Path, content: bytes, path: Path, photos: Sequence[NDArray[np.uint8]]
) -> Exported:
    """Write ``whole``, a float32 ONNX file, in int8 to ``path`` if it finds the same faces.

    Args:
        whole: the file that it will lie beside.
        content: the same network as `serialize` gives it for "int8".
        photos: RGB uint8 (H, W, 3); every other one calibrates, the rest compare.

    Raises UserError for too few photos or faces, and `ParityError` as `export_checkpoint` does.
    """
    calibrating, comparing = divide(photos)
    expected = load_detector(whole, score_threshold=LOWEST, device="cpu")
    log.info("making %s: calibrating on %d photos", path, len(calibrating))
    batches = [expected.resize(photo).pixels[None] for photo in calibrating]
    content = quantize(content, file_digest(whole), batches)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_bytes(content)
        log.info("comparing %s with %s on %d photos", path.name, whole.name, len(comparing))
        actual = load_detector(trial, score_threshold=LOWEST, device="cpu")
        agreed = agreement(expected, actual, comparing)
    report_path = path.with_name(path.name + ".parity.json")
    about = {"file": path.name, "format": "int8", "of": whole.name, **agreed.to_json()}
    if agreed.passed:
        with atomic_write(path) as file:
            file.write(content)
    atomic_write_text(report_path, json.dumps(about, indent=2) + "\n")
    if not agreed.passed:
        raise ParityError(f"{path} was not written, for it finds other faces: {agreed}")
    return Exported(path, report_path, [], agreed)


def serialize(model: FaceRCNN, artifact: Artifact, format: Format) -> bytes:
    """The network in one of the formats, with ``artifact`` inside.

    For "int8" and "openvino" it is the ONNX file that they are made of. In 8 bits every sum of two
    groups (`detector.export.dense.InGroups`) would be rounded.
    """
    if format != "torchscript":
        from detector.export.onnx import export_onnx

        return export_onnx(model, artifact, grouped=format == "onnx")
    extra = {EXTRA_FILE: json.dumps(artifact.to_metadata())}
    buffer = io.BytesIO()
    graph = face_graph(model).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript says that it is deprecated
        # The dense part is traced, which follows any size; the rest has branches: it is scripted.
        graph.dense = torch.jit.trace(
            graph.dense, example_images(), strict=False, check_trace=False
        )
        torch.jit.save(torch.jit.script(graph), buffer, _extra_files=extra)
    return buffer.getvalue()


def run_checkpoint(model: FaceRCNN) -> Run:
    """The checkpoint's own network, run by torchvision's code."""
    network = TorchNetwork(model, torch.device("cpu"))

    def run(images: NDArray[np.uint8], score_threshold: float) -> list[Found]:
        before = model.roi_heads.score_thresh
        model.roi_heads.score_thresh = score_threshold
        try:
            return network(images)
        finally:
            model.roi_heads.score_thresh = before

    return run


def run_exported(path: Path, format: Format) -> Run:
    """An exported file, opened as a user would."""

    def run(images: NDArray[np.uint8], score_threshold: float) -> list[Found]:
        network.score_threshold = score_threshold
        return network(images)

    network: OnnxNetwork | ScriptNetwork | OpenVinoNetwork
    if format == "onnx":
        network = OnnxNetwork(open_onnx(path, "cpu")[0], 0.0)
    elif format == "openvino":
        compiled, artifact = open_ir(path)
        network = OpenVinoNetwork(compiled, 0.0, artifact.nms_threshold)
    else:
        network = ScriptNetwork(open_script(path)[0], torch.device("cpu"), 0.0)
    return run

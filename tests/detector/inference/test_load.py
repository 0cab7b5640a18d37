"""One call opens every format by its content, and refuses everything else in one clear line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from detector import load_detector
from detector.export.parity import draw_crowd
from detector.inference.metadata import EXTRA_FILE
from detector.types import Detections
from faces.errors import UserError
from tests.small_export import SmallExport

FORMATS = ["pt", "onnx", "torchscript"]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    random = np.random.default_rng(3)
    sizes = [(120, 200), (300, 170), (700, 900), (121, 201), (31, 45)]
    return [draw_crowd(max(32, h), max(32, w), 12, random)[:h, :w] for h, w in sizes]


def same(a: Detections, b: Detections) -> bool:
    """The same faces; those whose scores are all but equal may come in another order."""
    if a.image_size != b.image_size or len(a) != len(b):
        return False
    apart = np.abs(a.xyxy[:, None] - b.xyxy[None]).max(axis=2)
    partner = apart.argmin(axis=1)
    return (
        len(set(partner.tolist())) == len(b)
        and bool((apart.min(axis=1) < 0.05).all())
        and bool(np.allclose(a.score, b.score[partner], atol=1e-4))
    )


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same(
    small_export: SmallExport, photos: list[np.ndarray], format: str
) -> None:
    path = small_export.folder / f"small.{format}"
    detector = load_detector(path, score_threshold=0.05)
    expected = load_detector(small_export.checkpoint, score_threshold=0.05)
    found, truth = detector.detect_batch(photos), expected.detect_batch(photos)
    assert sum(map(len, truth)) > 30
    assert all(same(a, b) for a, b in zip(found, truth, strict=True))
    assert same(detector.detect(photos[1]), truth[1])


def test_torch_says_nothing_of_a_picture_that_may_not_be_written(small_export: SmallExport) -> None:
    """It warns once in a process, so a new one is asked."""
    program = (
        "import sys, numpy as np, faces\n"
        "image = np.zeros((64, 64, 3), np.uint8)\n"
        "image.flags.writeable = False\n"
        "[faces.load_detector(path).detect(image) for path in sys.argv[1:]]"
    )
    files = [str(small_export.folder / f"small.{format}") for format in ("pt", "torchscript")]
    command = [sys.executable, "-W", "error", "-c", program, *files]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


@pytest.mark.parametrize("format", FORMATS)
def test_content_counts_not_the_name(
    small_export: SmallExport, photos: list[np.ndarray], tmp_path: Path, format: str
) -> None:
    path = tmp_path / "mein Netz ü.bin"
    shutil.copy(small_export.folder / f"small.{format}", path)
    expected = load_detector(small_export.checkpoint, score_threshold=0.1).detect(photos[0])
    assert same(load_detector(str(path), score_threshold=0.1).detect(photos[0]), expected)


@pytest.mark.parametrize("format", FORMATS)
def test_thresholds_are_obeyed(
    small_export: SmallExport, photos: list[np.ndarray], format: str
) -> None:
    path = small_export.folder / f"small.{format}"

    def count(score: float, nms: float | None = None) -> int:
        detector = load_detector(path, score_threshold=score, nms_threshold=nms)
        found = detector.detect(photos[0])
        assert (found.score >= score).all()
        return len(found)

    scores = load_detector(path, score_threshold=0.001).detect(photos[0]).score
    low, high = np.quantile(scores, [0.3, 0.7])
    assert len(scores) > count(low) > count(high) > 0
    assert count(1.0) == 0
    assert count(low, 0.9) > count(low) == count(low, 0.5) > count(low, 0.05)


@pytest.mark.parametrize("format", FORMATS)
def test_max_side_is_obeyed(
    small_export: SmallExport, photos: list[np.ndarray], format: str
) -> None:
    path = small_export.folder / f"small.{format}"
    assert load_detector(path).resize.side == 640
    assert load_detector(path, max_side=320).resize.side == 320
    shapes = []
    detector = load_detector(path, max_side=0)
    network = detector.network
    detector.network = lambda batch: shapes.append(batch.shape) or network(batch)  # type: ignore[func-returns-value]
    detector.detect(photos[2])
    assert shapes == [(1, 704, 928, 3)]


def test_batches_are_as_large_as_asked(small_export: SmallExport, photos: list[np.ndarray]) -> None:
    detector = load_detector(small_export.onnx, batch_size=3, score_threshold=0.05)
    sizes = []
    network = detector.network
    detector.network = lambda batch: sizes.append(len(batch)) or network(batch)  # type: ignore[func-returns-value]
    found = detector.detect_batch([photos[0]] * 7)
    assert sizes == [3, 3, 1]
    assert all(same(a, found[0]) for a in found)


# ---- refusals -------------------------------------------------------------------------------


def refuse(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_detector(path)
    text = str(caught.value)
    assert path.name in text
    assert "\n" not in text
    assert len(text) < 400


def test_missing_files_and_folders(tmp_path: Path) -> None:
    refuse(tmp_path / "none.onnx", "there is no detector")
    refuse(tmp_path, "is a folder: give the file")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.999])
def test_truncated_files(
    small_export: SmallExport, tmp_path: Path, format: str, share: float
) -> None:
    whole = (small_export.folder / f"small.{format}").read_bytes()
    path = tmp_path / f"cut.{format}"
    path.write_bytes(whole[: int(len(whole) * share)])
    refuse(path, "cut short")


@pytest.mark.parametrize("format", FORMATS)
def test_a_flipped_byte_is_never_taken_for_a_detector_that_works(
    small_export: SmallExport, tmp_path: Path, format: str, photos: list[np.ndarray]
) -> None:
    """Zip members carry checksums; in ONNX the structure is checked, weights have no checksum."""
    whole = bytearray((small_export.folder / f"small.{format}").read_bytes())
    path = tmp_path / f"flipped.{format}"
    start = whole.find(b"archive/data/0" if format == "pt" else b"PK") + 200
    whole[0 if format == "onnx" else start] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(UserError, match="flipped"):
        load_detector(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08", b"hello", b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"\x80\x02}q\x00."],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing.onnx"
    path.write_bytes(content)
    refuse(path, "thing.onnx (holds no detector|is damaged)")


def test_a_foreign_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "office.docx", "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    refuse(tmp_path / "office.docx", "holds no detector")


def test_a_foreign_zip_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "office.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"words " * 1000)
    content = bytearray(path.read_bytes())
    content[31] = 0xFF  # the first byte of the compressed data, which is no block of any kind
    path.write_bytes(content)
    refuse(path, "damaged, cut short or encrypted")


def test_a_foreign_zip_that_is_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "secret.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"words")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag, in the file's own header and in the list of files
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refuse(path, "damaged, cut short or encrypted")


def test_a_foreign_onnx_file(tmp_path: Path) -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "other.onnx")
    refuse(tmp_path / "other.onnx", "was not made by this program")


def test_a_foreign_torchscript_file(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "other.pt"))
    refuse(tmp_path / "other.pt", "was not made by this program")


def test_foreign_weights(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    refuse(tmp_path / "other.pth", "holds no detector")


def with_words(small_export: SmallExport, path: Path, **changes: str) -> Path:
    """The small detector's file of the format of ``path``, with other words in it."""
    if path.suffix == ".onnx":
        proto = onnx.load(small_export.onnx)
        for entry in proto.metadata_props:
            entry.value = changes.get(entry.key, entry.value)
        onnx.save(proto, path)
        return path
    with (
        zipfile.ZipFile(small_export.torchscript) as source,
        zipfile.ZipFile(path, "w") as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(EXTRA_FILE):
                content = json.dumps({**json.loads(content), **changes}).encode()
            target.writestr(name, content)
    return path


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_another_version(small_export: SmallExport, tmp_path: Path, format: str) -> None:
    path = with_words(small_export, tmp_path / f"new.{format}", version="7")
    refuse(path, "has version 7, this program reads version 1: export the checkpoint again")


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": "{"}, "is damaged"),
        ({"config": "[]"}, "is damaged"),
        ({"config": '{"color": 1}'}, "unknown key 'color'"),
        ({"config": '{"model": {"arch": "yolo"}}'}, "arch cannot be 'yolo'"),
        ({"thresholds": "{}"}, "is damaged"),
    ],
)
def test_damaged_words(
    small_export: SmallExport, tmp_path: Path, format: str, changes: dict[str, str], message: str
) -> None:
    path = with_words(small_export, tmp_path / f"odd.{format}", **changes)
    refuse(path, message)


def test_another_version_of_checkpoint(small_export: SmallExport, tmp_path: Path) -> None:
    payload = torch.load(small_export.checkpoint, weights_only=True)
    torch.save({**payload, "version": 99}, tmp_path / "future.pt")
    refuse(tmp_path / "future.pt", "has version 99")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_side": -5}, "max_side must be"),
        ({"max_side": 3}, "max_side must be"),
        ({"score_threshold": 1.5}, "score_threshold must be"),
        ({"score_threshold": float("nan")}, "score_threshold must be"),
        ({"nms_threshold": 0.0}, "nms_threshold must be"),
        ({"threads": 0}, "threads must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"device": "tpu"}, "device=tpu"),
        ({"device": "cuda:x"}, "device=cuda:x"),
        ({"providers": ["NoSuchProvider"]}, "provider"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_impossible_options(
    small_export: SmallExport, format: str, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_detector(small_export.folder / f"small.{format}", **options)


def test_providers_and_threads_of_onnx_runtime(small_export: SmallExport) -> None:
    detector = load_detector(
        small_export.onnx, providers=["CPUExecutionProvider"], threads=1, score_threshold=0.1
    )
    session = detector.network.session._wide  # type: ignore[attr-defined]
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("format", FORMATS)
def test_a_device_that_is_absent(small_export: SmallExport, format: str) -> None:
    with pytest.raises(UserError, match="device=cuda"):
        load_detector(small_export.folder / f"small.{format}", device="cuda")


# ---- what is imported -------------------------------------------------------------------------


def loaded_modules(code: str, *arguments: str) -> set[str]:
    code += "\nimport sys; print(*sorted(sys.modules))"
    output = subprocess.check_output([sys.executable, "-c", code, *arguments], cwd=ROOT, text=True)
    return {name.split(".")[0] for name in output.splitlines()[-1].split()}


def test_importing_the_function_is_free() -> None:
    modules = loaded_modules("from detector import load_detector")
    assert modules.isdisjoint({"torch", "onnxruntime", "onnx", "matplotlib", "skimage"})


def test_an_onnx_file_runs_without_torch(small_export: SmallExport) -> None:
    code = """
import sys, numpy as np
from detector import load_detector
found = load_detector(sys.argv[1], score_threshold=0.0).detect(np.zeros((50, 70, 3), np.uint8))
assert found.image_size == (50, 70)
"""
    modules = loaded_modules(code, str(small_export.onnx))
    assert "onnxruntime" in modules
    assert modules.isdisjoint({"torch", "torchvision", "onnx", "onnxscript", "skimage", "cv2"})


def test_an_unknown_name_of_the_package() -> None:
    import detector

    with pytest.raises(AttributeError, match="no_such_thing"):
        detector.no_such_thing  # noqa: B018


def test_an_unknown_speed_is_refused():
    with pytest.raises(UserError, match='speed must be "normal" or "fast", not \'warp\''):
        load_detector("shipped", speed="warp")

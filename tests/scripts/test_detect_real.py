"""`faces detect` in a process of its own, and with real networks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.draw import FOUND
from faces.images.read import read_image
from faces.images.write import save_image
from scripts.main import main
from tests.scripts.detecting import ROOT, detect, files, lines, picture

# -- in a process of its own

START = """
import sys, time
from detector.inference import load
from detector.types import Detections

class Slow:
    def detect_batch(self, images):
        time.sleep({seconds})
        return [Detections.empty(image.shape[:2]) for image in images]

load.load_detector = lambda path, **options: Slow()
from scripts.main import main
code = main(sys.argv[1:])
{after}
sys.exit(code)
"""


def start(*arguments: str, seconds: float = 0, after: str = "") -> subprocess.Popen[str]:
    program = START.format(seconds=seconds, after=after)
    return subprocess.Popen(
        [sys.executable, "-c", program, "detect", *arguments, "-m", "m.onnx"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.slow
def test_images_need_none_of_the_heavy_libraries(photos):
    names = "'torch', 'torchvision', 'matplotlib', 'scipy', 'cv2', 'skimage', 'lxml', 'onnx'"
    after = f"print([name for name in ({names}) if name in sys.modules])"
    with start("photos", "--out", "found", "--wider", "wider", after=after) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
@pytest.mark.parametrize("number", [signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGINT)])
def test_a_run_that_is_stopped_leaves_complete_lines_and_pictures(photos, number):
    for i in range(40):
        Image.fromarray(picture()).save(f"photos/{i:02d}.png")
    arguments = ["photos", "--out", "found", "--json", "-", "--batch-size", "1"]
    with start(*arguments, seconds=0.1) as process:
        for _ in range(3):
            json.loads(process.stdout.readline())
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert len(out.splitlines()) < 30, "it stopped early"
    for line in out.splitlines():
        json.loads(line)
    for path in Path("found").rglob("*.png"):
        if not path.name.startswith("."):
            assert read_image(path).shape == (120, 160, 3)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err == "faces: stopped.\n"
        assert not [name for name in files("found") if name.startswith(".")]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipe")
def test_a_reader_of_the_lines_may_leave(photos):
    for i in range(40):
        Image.fromarray(picture()).save(f"photos/{i:02d}.png")
    with start("photos", "--json", "-", "--batch-size", "1", seconds=0.02) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0


# -- the real thing


def test_the_example_of_the_documentation_runs(photos, capsys, monkeypatch):
    import detector.inference.load

    text = (ROOT / "docs" / "detect.md").read_text(encoding="utf-8")
    [example] = text.split("```python\n")[1:]
    Path("photos/broken.jpg").write_text("no image")
    monkeypatch.setattr("faces.load_detector", detector.inference.load.load_detector)
    exec(example.split("```")[0], {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("photos/broken.jpg: cannot read the image")
    assert second == "photos/trip/c.jpg [[ 80.  50. 110.  90.]]"


@pytest.mark.slow
def test_a_checkpoint_finds_what_it_finds_from_python(tmp_path):
    import torch

    from detector.checkpoint import save_checkpoint
    from detector.config import TrainConfig, to_dict
    from detector.inference.load import load_detector
    from detector.model import build_model
    from tests.tiny import TINY_MODEL

    torch.manual_seed(0)
    model = build_model(TINY_MODEL, pretrained=False)
    torch.nn.init.zeros_(model.rpn.head.cls_logits.bias)  # so that it finds something
    torch.nn.init.zeros_(model.roi_heads.box_predictor.cls_score.bias)
    save_checkpoint(
        tmp_path / "tiny.pt",
        {
            **{"config": to_dict(TrainConfig(model=TINY_MODEL)), "weights": model.state_dict()},
            **{"history": [], "provenance": {}},
        },
    )
    images = [picture(40), picture(80, 96, 96), picture(20, 200, 300)]
    for i, image in enumerate(images):
        save_image(tmp_path / "photos" / f"{i}.png", image)
    arguments = ["--threshold", "0.1", "--threads", "1", "--json", str(tmp_path / "lines.jsonl")]
    model_file = str(tmp_path / "tiny.pt")
    assert main(["detect", str(tmp_path / "photos"), "-m", model_file, *arguments]) == 0
    detector = load_detector(model_file, score_threshold=0.1, threads=1)
    faces = 0
    for line, image in zip(lines(tmp_path / "lines.jsonl"), images, strict=True):
        found = detector.detect(image)
        faces += len(found)
        assert [face["score"] for face in line["faces"]] == pytest.approx(found.score, abs=1e-4)
        boxes = [face["box"] for face in line["faces"]]
        assert np.allclose(np.reshape(boxes, (-1, 4)), found.xyxy, atol=0.02)
    assert faces > 0, "an untrained network is unsure of everything"


def onnx_file(path: Path) -> Path:
    """The smallest file that runs as an exported detector: it finds one face in every picture."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from detector.config import TrainConfig
    from detector.inference.metadata import Artifact

    outputs = {
        "boxes": np.array([[8, 16, 24, 40]], np.float32),
        "scores": np.array([0.75], np.float32),
        "image": np.array([0], np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
            for name, value in outputs.items()
        ],
        "one face",
        [
            helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", 3]),
            helper.make_tensor_value_info("score_threshold", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in outputs.items()
        ],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    helper.set_model_props(model, Artifact(TrainConfig()).to_metadata())
    onnx.save(model, path)
    return path


@pytest.mark.slow
def test_an_onnx_file_answers_at_once_without_torch(photos):
    """Processor time, from the start of Python to the written picture; the clock depends on what
    else the machine does."""
    onnx_file(Path("model.onnx"))
    heavy = "'torch', 'torchvision', 'matplotlib', 'scipy', 'cv2', 'skimage', 'lxml', 'onnx'"
    program = (
        "import sys, time; from scripts.main import main; "
        "code = main(['detect', 'photos/a.png', '-m', 'model.onnx', '--out', 'found']); "
        f"print([name for name in ({heavy}) if name in sys.modules], time.process_time()); "
        "sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    imported, seconds = result.stdout.splitlines()[-1].split("] ")
    assert imported == "["
    assert float(seconds) < 2.5
    [line] = lines("found/detections.jsonl")
    assert line["faces"] == [{"box": [8, 16, 24, 40], "score": 0.75}]
    assert (read_image(Path("found/a.png"))[15, 8:24] == FOUND).all()


@pytest.mark.data
def test_a_folder_of_wider_face_becomes_a_submission(shared_data, tmp_path, opened, capsys):
    folder = shared_data / "widerface" / "WIDER_val" / "images"
    images = sorted(path for path in folder.rglob("*.jpg"))
    detect(str(folder), "--wider", str(tmp_path), "--json", str(tmp_path / "lines.jsonl"))
    expected = [path.relative_to(folder).with_suffix(".txt").as_posix() for path in images]
    assert files(tmp_path) == sorted([*expected, "lines.jsonl"])
    assert [Path(line["path"]) for line in lines(tmp_path / "lines.jsonl")] == images
    assert capsys.readouterr().out.startswith(f"images:      {len(images)} (")

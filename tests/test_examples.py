"""The examples do what the program does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import load_detector
from detector.data.portraits import portraits
from detector.export.parity import draw_crowd
from faces.images.write import save_image
from scripts.demo_parts.scenes import make_scenes
from scripts.main import main
from tests.small_export import SmallExport

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLE = FOLDER / "run_onnx.py"


@pytest.mark.parametrize("size", [(288, 416), (900, 700), (45, 33)])
def test_run_onnx_finds_what_the_detector_finds(
    small_export: SmallExport, tmp_path: Path, size: tuple[int, int]
) -> None:
    height, width = size
    photo = draw_crowd(max(64, height), max(64, width), 30, np.random.default_rng(4))
    Image.fromarray(photo[:height, :width]).save(tmp_path / "photo.png")
    output = subprocess.check_output(
        [sys.executable, EXAMPLE, small_export.onnx, tmp_path / "photo.png"], text=True
    )
    printed = np.array([line.split() for line in output.splitlines()], float).reshape(-1, 5)
    found = load_detector(small_export.onnx).detect(photo[:height, :width])
    assert len(found) > 0
    # The smallest is padded by 31 columns: boxes that reach into them must end with the picture.
    assert printed[:, [0, 2]].max() <= width
    assert printed[:, [1, 3]].max() <= height
    expected = np.column_stack([found.xyxy, found.score])
    np.testing.assert_allclose(printed, expected, atol=0.11)


def test_run_onnx_reads_what_people_have(small_export: SmallExport, tmp_path: Path) -> None:
    """A JPEG without its last bytes is used; more than 8 bits are refused, not seen as white."""
    photo = draw_crowd(288, 416, 30, np.random.default_rng(4))
    Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=98)
    command = [sys.executable, EXAMPLE, small_export.onnx, tmp_path / "photo.jpg"]
    whole = subprocess.check_output(command)
    (tmp_path / "photo.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:-2])
    assert subprocess.check_output(command) == whole != b""
    for wide in (np.uint16, np.int32, np.float32):
        Image.fromarray(photo[..., 0].astype(wide)).save(tmp_path / "wide.tif")
        result = subprocess.run(
            [*command[:-1], tmp_path / "wide.tif"], capture_output=True, text=True
        )
        assert result.returncode == 1
        assert (
            result.stderr == f"{tmp_path / 'wide.tif'}: save it with 8 bits a color, it has more\n"
        )


def test_run_onnx_needs_three_packages() -> None:
    source = EXAMPLE.read_text(encoding="utf-8")
    code = [line for line in source.splitlines()[1:] if line.strip()]
    imports = {line.split()[1] for line in code if line.startswith(("import ", "from "))}
    assert imports == {"os", "sys", "numpy", "onnxruntime", "PIL"}


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """An example, started from the checkout."""
    result = subprocess.run(
        [sys.executable, FOLDER / name, *map(str, arguments)],
        capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
def test_people_in_a_folder_are_named(tmp_path: Path) -> None:
    """One of two is introduced, by a photo that is mirrored here; a third photo has no face."""
    collins, hopper = (portraits()[name] for name in ("eileen_collins", "grace_hopper"))
    empty = np.full((200, 300, 3), 90, np.uint8)
    save_image(tmp_path / "known" / "Eileen Collins" / "portrait.png", collins[:, ::-1])
    save_image(tmp_path / "known" / "Eileen Collins" / "wall.png", empty)
    for name, image in (("a", collins), ("b", hopper), ("c", empty)):
        save_image(tmp_path / "photos" / f"{name}.png", image)
    (tmp_path / "photos" / "d.txt").write_text("no image", encoding="utf-8")
    result = run("name_people_in_a_folder.py", tmp_path / "known", tmp_path / "photos")
    first, *others = result.stdout.splitlines()
    assert first.startswith("a.png: Eileen Collins (0.")
    assert others == ["b.png: somebody unknown", "c.png: nobody"]
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == ["left out"] * 2
    assert "wall.png" in result.stderr
    assert "d.txt" in result.stderr


@pytest.mark.slow(30)
def test_a_detector_is_trained_on_your_photos(tmp_path: Path) -> None:
    make_scenes(tmp_path / "wider", train=8, val=3)
    assert (
        main(["prepare", "wider", str(tmp_path / "wider"), "--out", str(tmp_path / "photos")]) == 0
    )
    output = run("train_on_your_photos.py", tmp_path / "photos", 1).stdout.splitlines()
    for line, name in zip(output, ("shipped", "yours"), strict=False):
        assert line.startswith(f"{name:<8} AP50 0.") or line.startswith(f"{name:<8} AP50 1.")
        assert float(line.split()[-1]) > 0.5, (
            "the shipped detector finds these faces before and after"
        )
    assert "best.onnx finds:" in output[2]
    assert len(output) == 6
    assert sum(int(line.split()[-2]) for line in output[3:]) > 3
    assert len(list((tmp_path / "photos" / "found").glob("*.jpg"))) == 3

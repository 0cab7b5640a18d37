"""The examples do what the program does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import load_detector
from detector.export.parity import draw_crowd
from tests.small_export import SmallExport

EXAMPLE = Path(__file__).parents[1] / "examples" / "run_onnx.py"


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


def test_it_is_short_and_needs_three_packages() -> None:
    source = EXAMPLE.read_text(encoding="utf-8")
    code = [line for line in source.splitlines()[1:] if line.strip()]
    imports = {line.split()[1] for line in code if line.startswith(("import ", "from "))}
    assert imports == {"os", "sys", "numpy", "onnxruntime", "PIL"}
    assert len(code) - len(imports) <= 15

"""`pip install faces` alone: what works without the extras, and what the rest says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from skimage.data import astronaut
from skimage.io import imsave

from faces.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from scripts.main import main
sys.exit(main(sys.argv[1:]))
"""


def faces(*arguments: str, cwd: Path, without: str = "") -> subprocess.CompletedProcess[str]:
    """Run `faces` as if one extra were not installed, or none at all."""
    modules = [name for extra, names in EXTRAS.items() for name in names if without in ("", extra)]
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(modules=modules), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_detect_enroll_fit_and_recognize_need_no_extra(tmp_path):
    imsave(tmp_path / "eileen.png", astronaut())
    commands = (
        ("detect", "eileen.png"),
        ("enroll", "Eileen Collins", "eileen.png"),
        ("people",),
        ("fit",),
        ("run", "eileen.png", "--out", "named.mp4"),
        ("run", "named.mp4", "--hide", "unknown", "--out", "hidden.mp4"),
        ("webcam", "a=named.mp4", "b=named.mp4", "--no-window", "--events", "e.jsonl"),
    )
    for command in commands:
        result = faces(*command, cwd=tmp_path)
        assert result.returncode == 0, (command, result.stderr)
    assert "Eileen Collins" in faces("people", cwd=tmp_path).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("train", "--image-path", ".", "--train-ann-dir", "."), "train"),
        (("export",), "train"),
        (("serve", "--http"), "serve"),
        (("webcam", "browser"), "serve"),
        (("index", "x.png", "--library", "lib"), "index"),
        (("index", "x.png", "--library", "lib", "--executor", "ray"), "ray"),
        (("index", "http://127.0.0.1:9/x.png", "--library", "lib"), "remote"),
    ],
)
def test_a_command_that_lacks_a_library_names_the_extra(command, extra, tmp_path):
    imsave(tmp_path / "x.png", astronaut())
    result = faces(*command, cwd=tmp_path, without=extra)
    assert result.returncode == 2, result.stderr
    assert f"'faces[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr

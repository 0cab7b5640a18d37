"""The page that `make docs` makes from the docstrings of the door."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import faces

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_it_is_made_without_a_warning_and_holds_every_name(tmp_path):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    line = re.search(r"^\t\$\(BIN\)/python (.* pdoc .*)$", text, re.MULTILINE)
    assert line is not None
    arguments = [word.replace("build/docs", str(tmp_path)) for word in shlex.split(line[1])]
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    page = (tmp_path / "faces.html").read_text(encoding="utf-8")
    for name in (*faces.__all__, "Gallery.add", "FaceAnalyzer.analyze_batch", "Detections.plot"):
        assert f'id="{name}"' in page, name
    assert "Raises UserError" in page

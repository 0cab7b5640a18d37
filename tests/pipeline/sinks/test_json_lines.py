"""Detections as JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.types import Detections
from pipeline.sinks.files import LineFile, json_line

TWO = Detections.from_raw(
    [[10.123, 20, 30.5, 40], [1, 2, 3, 4]], [0.91234567, 0.5], image_size=(480, 640)
)


def test_a_line_for_an_image():
    assert json.loads(json_line(Path("a/b.jpg"), TWO)) == {
        "path": "a/b.jpg",
        "width": 640,
        "height": 480,
        "faces": [
            {"box": [10.12, 20.0, 30.5, 40.0], "score": 0.912346},
            {"box": [1.0, 2.0, 3.0, 4.0], "score": 0.5},
        ],
    }


def test_a_line_for_a_frame_and_for_no_face():
    line = json.loads(json_line(Path("a.mp4"), Detections.empty((2, 3)), 7, 0.2335668))
    assert line == {
        **{"path": "a.mp4", "width": 3, "height": 2, "faces": []},
        **{"frame": 7, "time": 0.233567},
    }


def test_a_line_is_one_line_whatever_the_file_is_called():
    name = "caf\xe9\n\udce9 \u2028.jpg"
    line = json_line(Path(name), TWO)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["path"] == name


def test_numbers_are_short():
    found = Detections.from_raw([[1 / 3, 1 / 3, 4 / 3, 4 / 3]], [0.1], (5, 5))
    assert '"box": [0.33, 0.33, 1.33, 1.33], "score": 0.1}' in json_line(Path("a"), found)


def test_lines_can_be_read_at_once_and_the_old_file_is_replaced(tmp_path):
    path = tmp_path / "new" / "detections.jsonl"
    path.parent.mkdir()
    path.write_text("old\n")
    with LineFile(path) as lines:
        assert path.read_bytes() == b""
        lines.write("one")
        assert path.read_bytes() == b"one\n"
        lines.write("two")
        assert path.read_bytes() == b"one\ntwo\n"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from pipeline.sinks.files import LineFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (250, 250))
with LineFile(Path(sys.argv[1])) as lines:
    try:
        while True:
            lines.write("x" * 99)
    except OSError as error:
        print("refused")
    lines.write("y" * 40)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_complete_lines(tmp_path):
    path = tmp_path / "detections.jsonl"
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert result.stdout == "refused\n"
    assert path.read_text().splitlines() == ["x" * 99, "x" * 99, "y" * 40]

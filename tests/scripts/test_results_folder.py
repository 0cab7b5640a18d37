"""Commands that work long find out first whether their results can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.main import main


@pytest.mark.parametrize(
    "command",
    [
        ["export"],
        ["evaluate", "--image-path", "photos", "--annotation-dir", "xml"],
        ["benchmark", "--image-path", "photos"],
        ["evaluate-recognizer", "--lfw", "lfw"],
    ],
    ids=lambda command: command[0],
)
def test_a_file_in_the_place_of_the_folder(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("mine")
    assert main([*command, "--out", "notes.txt"]) == 2
    error = capsys.readouterr().err
    assert "results cannot be written to notes.txt" in error
    assert Path("notes.txt").read_text() == "mine"

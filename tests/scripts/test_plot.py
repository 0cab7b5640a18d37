"""`faces plot`: redraw and compare runs from their histories alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scripts.main import main
from scripts.plot import run_names


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs and a folder that is none, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, best in (("fpn", 0.5), ("reference", 0.75)):
        lines = [
            {"epoch": e, "lr": 1e-3, "train": {"loss": loss}, "valid": {"loss": loss}}
            for e, loss in enumerate([1.0, best, best + 0.1], 1)
        ]
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "history.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "photos").mkdir()
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


HISTORIES = ["runs/fpn/history.jsonl", "runs/reference/history.jsonl"]


def test_one_run_is_drawn_into_its_folder(runs, capsys):
    assert main(["plot", "runs/fpn"]) == 0
    assert files(runs) == sorted([*HISTORIES, "runs/fpn/loss.png"])
    with Image.open(runs / "runs/fpn/loss.png") as picture:
        assert picture.width > 1000
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "fpn: 3 epochs, best validation loss 0.5000 (epoch 2)",
        f"picture: {Path('runs/fpn/loss.png')}",
    ]
    assert err == ""


def test_a_history_file_is_drawn_beside_it(runs):
    assert main(["plot", "runs/fpn/history.jsonl"]) == 0
    assert (runs / "runs/fpn/loss.png").is_file()


def test_several_runs_are_compared_in_the_current_folder(runs, capsys):
    assert main(["plot", "runs/fpn", "runs/reference", "runs/fpn"]) == 0
    assert files(runs) == sorted([*HISTORIES, "compare.png"])
    assert capsys.readouterr().out.splitlines()[1].startswith("reference: 3 epochs, best")


def test_out_chooses_the_file_and_its_format(runs):
    assert main(["plot", "runs/fpn", "runs/reference", "--out", "new/losses.svg"]) == 0
    assert "runs/fpn/loss.png" not in files(runs)
    text = (runs / "new/losses.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run was given"),
        (["runs/none"], f"there is no run {Path('runs/none')}"),
        (["photos"], "photos has no history.jsonl: it is no run folder"),
        (["runs/fpn", "photos"], "photos has no history.jsonl"),
        (["runs/fpn", "--out", "a.doc"], "a picture cannot be a .doc"),
        (["runs/fpn", "--out", "photos/../runs/fpn/history.jsonl/a.png"], "cannot be written"),
    ],
)
def test_bad_input_is_named(runs, capsys, arguments, message):
    assert main(["plot", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("faces: ")
    assert message in err
    assert err.count("\n") == 1
    assert files(runs) == HISTORIES


def test_a_damaged_line_is_named(runs, capsys):
    path = runs / "runs/fpn/history.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"epoch": 4, "lr', encoding="utf-8")
    assert main(["plot", "runs/fpn"]) == 2
    assert f"{Path('runs/fpn/history.jsonl')}, line 4 is not a line" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a/fpn"], ["fpn"]),
        (["a/one", "a/two"], ["one", "two"]),
        (["a/fpn", "b/fpn"], ["a/fpn", "b/fpn"]),
        (["a/x/fpn", "b/x/fpn", "b/ref"], ["a/x/fpn", "b/x/fpn", "b/ref"]),
    ],
)
def test_names_have_as_many_parents_as_it_takes(tmp_path, given, expected):
    runs = [tmp_path / name for name in given]
    for run in runs:
        run.mkdir(parents=True)
    names = run_names(runs)
    assert len(set(names)) == len(names)
    if given == ["a/x/fpn", "b/x/fpn", "b/ref"]:
        expected = ["a/x/fpn", "b/x/fpn", f"{tmp_path.name}/b/ref"]
    assert names == expected


def test_the_same_folder_under_two_names_still_has_two_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_names([Path(), tmp_path]) == [".", str(tmp_path)]

"""`faces prepare` as it is typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.main import main
from tests.detector.data.test_check import GOOD, add
from tests.detector.data.wider.test_convert import NAMES, check_result, make_source, zip_source
from tests.detector.data.wider.test_download import official  # noqa: F401 (a fixture)
from tests.faces.test_download import Server, server  # noqa: F401 (a fixture)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def faces(*arguments: str) -> int:
    return main(["prepare", *arguments])


def table(text: str) -> dict[str, list[str]]:
    """The cells of each row of a printed table, by its first words."""
    rows = [line.split("  ") for line in text.splitlines()]
    return {row[0]: [x.strip() for x in row[1:] if x.strip()] for row in rows if len(row) > 1}


def test_wider_prints_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    make_source(Path("wider"))
    make_source(Path("wider"), "val")
    (Path("wider/WIDER_val/images") / NAMES[0]).unlink()
    assert faces("wider", "wider", "--out", "out") == 0
    output = capsys.readouterr()
    rows = table(output.out)
    assert rows["images"] == ["3", "2"]
    assert rows["faces"] == ["3", "1"]
    assert rows["marked invalid (difficult)"] == ["1", "0"]
    assert rows["boxes without area"] == ["1", "1"]
    assert rows["images without a face"] == ["1", "1"]
    assert rows["missing images"] == ["0", "1"]
    assert f"val, missing images: {NAMES[0]}" in output.out
    assert len(list(Path("out").rglob("*.xml"))) == 5

    assert faces("wider", "wider", "--out", "out") == 0
    assert "up to date and have been kept" in capsys.readouterr().out


def test_zip_files_are_taken_as_they_are() -> None:
    zip_source(make_source(Path("wider")))
    assert faces("wider", "wider", "--out", "out", "--splits", "train", "--quiet") == 0
    check_result(Path("out"))


def test_an_unreadable_image_shows_in_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    make_source(Path("wider"))
    (Path("wider/WIDER_train/images") / NAMES[1]).write_bytes(b"")
    assert faces("wider", "wider", "--out", "out") == 1
    assert f"train, unreadable images: {NAMES[1]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wider", "nowhere", "--out", "out"), "nowhere is not a folder"),
        (("wider", ".", "--out", "out"), "holds no truth of WIDER FACE"),
        (("wider", "wider", "--out", "out", "--splits", "val"), "there is no wider_face_val"),
        (("wider", "wider", "--out", "out", "--truth", "mat"), "there is no wider_face_train.mat"),
        (("check", "nowhere"), "nowhere is not a folder"),
        (("check", "empty"), "holds no annotations"),
        (("check",), "give either one folder"),
        (("check", "voc", "--image-dir", "voc"), "give either one folder"),
        (("check", "--image-dir", "voc/images"), "give either one folder"),
        (("check", "voc", "--fix", "wider"), "is not empty"),
        (("download", "--out", "x", "--mirror", "ftp://host"), "only http and https"),
        (("wider", "wider", "--out", "file/x"), "name another folder with --out"),
        (("download", "--out", "file"), "name another folder with --out"),
        (("check", "voc", "--report", "file"), "name another folder with --report"),
        (("check", "voc", "--fix", "file/x"), "name another folder with --fix"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    make_source(Path("wider"))
    add(Path("voc"), "a.jpg", GOOD)
    Path("empty").mkdir()
    Path("file").touch()
    assert faces(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments", [(), ("wide",), ("wider", "a"), ("wider", "a", "--out", "b", "--images", "x")]
)
def test_wrong_flags_end_with_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        faces(*arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("arguments", [(), ("wider",), ("download",), ("check",)])
def test_help_ends_with_examples(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as caught:
        faces(*arguments, "--help")
    assert caught.value.code == 0
    assert "examples:\n  faces prepare download" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from scripts.main import main\n"
        "try: main(['prepare', 'check', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'scipy', 'matplotlib', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_a_clean_folder_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    add(Path("voc"), "a.jpg", GOOD)
    assert faces("check", "voc") == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert json.loads(Path("runs/check/report.json").read_text(encoding="utf-8"))[0]["pairs"] == 1
    with Image.open("runs/check/sample.png") as picture:
        assert picture.size == (420, 442)


def test_problems_are_counted_named_and_repaired(capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(5):
        add(Path("voc"), f"{i}.jpg", GOOD, (9, 9, 9, 9))
    add(Path("voc"), "wide.jpg", (-3, 5, 200, 20))
    assert faces("check", "voc", "--report", "r", "--fix", "fixed", "--show", "2") == 1
    output = capsys.readouterr().out
    rows = table(output)
    assert rows["degenerate box"] == ["5", "dropped"]
    assert rows["box over the edge"] == ["1", "clipped"]
    assert rows["boxes without area dropped"] == ["5"]
    assert rows["boxes clipped"] == ["1"]
    assert "  ... and 3 more" in output
    assert str(Path("voc/annotations/1.xml")) in output
    assert str(Path("voc/annotations/2.xml")) not in output
    report = json.loads(Path("r/report.json").read_text(encoding="utf-8"))
    assert len(report[0]["problems"]) == 6
    assert faces("check", "fixed") == 0


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(Path("voc"), "a.jpg", GOOD)
    Path("file").touch()
    monkeypatch.setattr("detector.data.check.check_set", None)
    assert faces("check", "voc", "--report", "file") == 2


def test_a_name_that_is_no_utf_8_is_in_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    add(Path("voc"), "a.jpg", GOOD)
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        (Path("voc/images") / name).write_bytes(b"no image")
    except OSError:
        pytest.skip("this file system allows no such name")
    assert faces("check", "voc") == 1
    report = json.loads(Path("runs/check/report.json").read_text(encoding="utf-8"))
    assert f"voc/images/{name}" in [problem["file"] for problem in report[0]["problems"]]


def test_folders_can_be_named_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    add(Path("voc"), "a.jpg", GOOD)
    Path("voc/images").rename("photos")
    Path("voc/annotations").rename("labels")
    assert faces("check", "--image-dir", "photos", "--annotation-dir", "labels") == 0
    assert table(capsys.readouterr().out)["images with annotations"] == ["1"]


def test_headers_only_does_not_decode() -> None:
    add(Path("voc"), "a.jpg", GOOD)
    path = Path("voc/images/a.jpg")
    path.write_bytes(path.read_bytes()[:-100])
    assert faces("check", "voc") == 1
    assert faces("check", "voc", "--headers-only") == 0


def test_download_from_a_mirror_then_convert(
    official: Server,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert faces("download", "--out", "data", "--mirror", official.url, "--splits", "train") == 0
    said = capsys.readouterr().out
    assert "go on with: faces prepare wider" in said
    assert "--splits train" in said, "the truth of both came, the images of one"
    assert faces("wider", "data", "--out", "out") == 0
    check_result(Path("out"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to a child there")
def test_ctrl_c_leaves_no_traceback_and_nothing_half_written(tmp_path: Path) -> None:
    from benchmarks.prepare import make_source as make_large

    source, out = tmp_path / "large", tmp_path / "out"
    source.mkdir()
    make_large(source, 0.1)
    command = [sys.executable, "-m", "scripts.main", "prepare", "wider", str(source)]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--splits", "train"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    part = out / "train" / ".annotations.part"
    until = time.monotonic() + 60
    while not (part.is_dir() and any(part.rglob("*.xml"))) and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert [path.name for path in (out / "train").iterdir()] == ["images"]
    assert faces("wider", str(source), "--out", str(out), "--splits", "train") == 0
    assert len(list((out / "train" / "annotations").rglob("*.xml"))) == 1288


@pytest.mark.data
def test_real_data_from_text_to_a_clean_folder(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faces("wider", str(shared_data / "widerface"), "--out", "wider", "--splits", "val") == 0
    assert table(capsys.readouterr().out)["faces"] == ["2,681"]
    assert faces("check", "wider") == 0
    with Image.open("runs/check/sample.png") as picture:
        assert np.asarray(picture).std() > 20

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
import yaml
from PIL import Image

from detector.data.voc.annotation import VocAnnotation, VocObject, read_voc, write_voc
from scripts.main import main
from tests.detector.data.checking import GOOD, HEIGHT, WIDTH, add
from tests.detector.data.formats.exports import coco, picture, text, write_json
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
        (("export", "--format", "coco", "--out", "x"), "give either one folder"),
        (("export", "empty", "--format", "coco", "--out", "x"), "holds no annotations"),
        (("export", "voc", "--format", "yolo", "--out", "wider"), "nothing is overwritten"),
        (("export", "voc", "--format", "yolo", "--out", "voc/images/x"), "which is only read"),
        (("export", "voc", "--format", "yolo", "--out", "file/x"), "name another folder"),
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


@pytest.mark.parametrize("arguments", [(), ("wider",), ("download",), ("check",), ("export",)])
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


def test_export_says_what_the_format_cannot_hold(capsys: pytest.CaptureFixture[str]) -> None:
    make_source(Path("wider"))
    assert faces("wider", "wider", "--out", "data", "--images", "copy") == 0
    capsys.readouterr()
    assert faces("export", "data", "--format", "yolo", "--out", "yolo") == 0
    output = capsys.readouterr().out
    assert table(output)["images"] == ["3"]
    assert table(output)["boxes"] == ["1"]
    assert "difficult faces left out, which YOLO cannot mark: 1" in output
    assert "1 box without area left out" in output
    assert faces("export", "data", "--format", "coco", "--out", "coco") == 0
    assert "difficult faces written as iscrowd 1: 1" in capsys.readouterr().out
    content = json.loads(Path("coco/annotations/instances_train.json").read_text())
    assert [item["iscrowd"] for item in content["annotations"]].count(1) == 1
    assert content["annotations"][0]["attributes"].keys() >= {"blur", "occlusion"}

    pair = ("--image-dir", "data/train/images", "--annotation-dir", "data/train/annotations")
    assert faces("export", *pair, "--format", "coco", "--out", "pair", "--images", "link") == 0
    alone = json.loads(Path("pair/annotations/instances_default.json").read_text())
    assert alone["annotations"] == content["annotations"]


def test_import_ends_with_the_table_of_check(capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "valid"):
        picture(Path(f"export/{split}/a.jpg"))
        data = coco("a.jpg", bbox=[190, 20, 20, 40.5])  # over the edge
        data["annotations"].append({**data["annotations"][0], "category_id": 0, "iscrowd": 1})
        write_json(Path(f"export/{split}/_annotations.coco.json"), data)
    picture(Path("export/valid/b.jpg"))
    assert faces("import", "export", "--out", "mine") == 1
    output = capsys.readouterr().out
    rows = table(output)
    assert rows["images with annotations"] == ["1", "1"]
    assert rows["difficult"] == ["1", "1"]
    assert rows["box over the edge"][:2] == ["2", "2"]
    assert "read as coco; images: 2 " in output
    assert "classes found: face (2), faces (2)" in output
    assert "choose with --classes" in output
    assert "note: images without labels, left out: 1 (valid/b.jpg)" in output

    assert faces("import", "export", "--out", "mine") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert faces("import", "export", "--out", "mine", "--overwrite", "--classes", "face") == 1
    assert "classes: face (2)" in capsys.readouterr().out
    assert faces("check", "mine", "--fix", "mended") == 1
    assert faces("check", "mended") == 0


def test_import_of_a_sound_export_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    picture(Path("export/images/a.jpg"))
    text(Path("export/labels/a.txt"), "0 0.5 0.5 0.25 0.125\n")
    text(Path("export/data.yaml"), "train: images\nnames: [face]\n")
    assert faces("import", "export/data.yaml", "--out", "mine", "--images", "copy") == 0
    output = capsys.readouterr().out
    assert "images: 1 copied" in output
    assert "nothing is wrong" in output
    text(Path("export/labels/a.txt"), "0 0.5 0.5\n")
    assert faces("import", "export/data.yaml", "--out", "other") == 2
    assert "a.txt, line 1: has 3 numbers" in capsys.readouterr().err
    assert not Path("other").exists()


def test_import_says_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    picture(Path("export/a.jpg"))
    write_json(Path("export/a.json"), coco("a.jpg", "gone.jpg"))
    assert faces("import", "export", "--out", "mine") == 1
    assert "listed images that are not there, left out: 1 (gone.jpg" in capsys.readouterr().out


def test_yolo_pose_is_as_its_trainers_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    points = ((10.0, 9.0), (20.0, 9.0), (15.0, 12.0), (11.0, 15.0), None)
    objects = (
        VocObject("face", (5, 6, 25, 30), landmarks=points),
        VocObject("face", (30, 6, 50, 30)),
    )
    add(Path("data"), "one.png")
    annotation = VocAnnotation("one.png", WIDTH, HEIGHT, objects)
    write_voc(Path("data/annotations/one.xml"), annotation)
    assert faces("export", "data", "--format", "yolo-pose", "--out", "pose") == 0
    about = yaml.safe_load(Path("pose/data.yaml").read_text())
    assert about["kpt_shape"] == [5, 3]
    assert about["flip_idx"] == [1, 0, 2, 4, 3]
    first, second = (
        [float(x) for x in line.split()]
        for line in Path("pose/labels/one.txt").read_text().splitlines()
    )
    assert len(first) == len(second) == 5 + 15
    assert first[5:8] == pytest.approx([10 / WIDTH, 9 / HEIGHT, 2])
    assert first[-3:] == [0, 0, 0]
    assert second[5:] == [0] * 15
    assert faces("import", "pose", "--out", "again") == 0
    [one, other] = read_voc(Path("again/train/annotations/one.xml")).objects
    assert one.landmarks[4] is None
    assert one.landmarks[:4] == tuple(pytest.approx(point) for point in points[:4])
    assert other.landmarks == ()


def test_what_was_exported_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Through COCO everything, through YOLO what it can hold."""
    points = ((12.5, 9.0), (18.25, 9.5), None, (13.0, 15.0), (-1.0, 15.125))
    boxes = {
        "train": (
            VocObject("face", (5.125, 6.0, 25.0, 30.5), False, {"blur": "2"}, landmarks=points),
            VocObject("head", (30.1, 0.0, 59.9, 39.0), True),
        ),
        "val": (VocObject("face", (1.0, 2.0, 7.0, 8.0)),),
    }
    for split, objects in boxes.items():
        for name, found in (("a/one.png", objects), ("two.png", ())):
            add(Path("data", split), name)
            path = Path("data", split, "annotations", name).with_suffix(".xml")
            write_voc(path, VocAnnotation(Path(name).name, WIDTH, HEIGHT, found))
    for kind in ("coco", "yolo", "yolo-pose"):
        assert faces("export", "data", "--format", kind, "--out", kind) == 0
        said = capsys.readouterr().out
        assert ("faces without their landmarks" in said) == (kind == "yolo")
        assert ("landmarks outside of the picture left out, which YOLO refuses: 1" in said) == (
            kind == "yolo-pose"
        )
        assert faces("import", kind, "--out", f"{kind}-again") == 0
        for split in boxes:
            for place in ("a/one.xml", "two.xml"):
                before = read_voc(Path("data", split, "annotations", place))
                (again,) = Path(f"{kind}-again", split, "annotations").rglob(Path(place).name)
                after = read_voc(again)
                assert (after.width, after.height) == (WIDTH, HEIGHT)
                if kind == "coco":
                    assert after.objects == before.objects  # attributes and landmarks, too
                else:
                    kept = [item for item in before.objects if not item.difficult]
                    assert [item.name for item in after.objects] == [item.name for item in kept]
                    for one, other in zip(after.objects, kept, strict=True):
                        assert one.xyxy == pytest.approx(other.xyxy, abs=1e-9)
                        points = (*other.landmarks[:4], None) if kind == "yolo-pose" else ()
                        assert len(one.landmarks) == len(points and other.landmarks)
                        for point, same in zip(one.landmarks, points, strict=False):
                            assert (point is None) == (same is None)
                            assert point == (same and pytest.approx(same, abs=1e-9))

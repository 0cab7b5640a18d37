"""WIDER FACE on disk, as folders and as zip files, into VOC folders."""

from __future__ import annotations

import hashlib
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.voc.annotation import read_voc
from detector.data.voc.folder import VocFolder, pair
from detector.data.wider import convert as wider_voc
from detector.data.wider import source as wider_source
from detector.data.wider.convert import convert
from detector.data.wider.lists import parse_text
from detector.data.wider.source import find_root, splits_in
from faces import folders
from faces.errors import UserError
from faces.images.read import image_size
from tests.detector.data.wider.test_lists import TEXT, mat_file

NAMES = ("0--Parade/0_Parade_a_1.jpg", "0--Parade/0_Parade_b_2.jpg", "1--Handshaking/c.jpg")
SIZES = {name: (600 + 10 * i, 500) for i, name in enumerate(NAMES)}  # width, height


def make_source(root: Path, split: str = "train") -> Path:
    """The three images of TEXT in the official layout; three faces, one invalid, one degenerate."""
    (root / "wider_face_split").mkdir(parents=True, exist_ok=True)
    (root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt").write_bytes(TEXT)
    for i, (name, size) in enumerate(SIZES.items()):
        path = root / f"WIDER_{split}" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i, 99, 99)).save(path)
    return root


def zip_source(root: Path) -> Path:
    """The same as official zip files; the folders are gone."""
    for folder in ("WIDER_train", "wider_face_split"):
        with zipfile.ZipFile(root / f"{folder}.zip", "w") as archive:
            for path in sorted((root / folder).rglob("*")):
                archive.write(path, path.relative_to(root))
        shutil.rmtree(root / folder)
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_source(tmp_path / "source")


def files(folder: Path) -> list[str]:
    return sorted(x.relative_to(folder).as_posix() for x in folder.rglob("*") if not x.is_dir())


EXPECTED_FILES = sorted(
    [f"train/images/{name}" for name in NAMES]
    + [f"train/annotations/{name.replace('.jpg', '.xml')}" for name in NAMES]
    + ["train/annotations/.wider.json"]
)


def check_result(out: Path) -> None:
    assert files(out) == EXPECTED_FILES
    pairing = pair(VocFolder("", out / "train/images", out / "train/annotations"))
    assert len(pairing.pairs) == 3
    truth = {image.name: image for image in parse_text(TEXT, "gt")}
    for image, path in pairing.pairs:
        annotation = read_voc(path)
        name = image.relative_to(out / "train/images").as_posix()
        assert (annotation.height, annotation.width) == image_size(image)
        assert np.array_equal(annotation.boxes(), truth[name].xyxy())


def test_folders_become_voc(source: Path, tmp_path: Path) -> None:
    summary = convert(source, tmp_path / "out", "train")
    check_result(tmp_path / "out")
    assert (summary.images, summary.faces, summary.invalid) == (3, 3, 1)
    assert (summary.degenerate, summary.without_face, summary.turned) == (1, 1, 0)
    assert (summary.missing, summary.unreadable, summary.kept) == ((), (), False)
    assert sum(summary.placed.values()) == 3
    voc = read_voc(tmp_path / "out/train/annotations/0--Parade/0_Parade_a_1.xml")
    assert [item.difficult for item in voc.objects] == [False, True]
    assert voc.objects[1].attributes == {
        "pose": "1",
        "truncated": "0",
        "blur": "2",
        "expression": "1",
        "illumination": "1",
        "invalid": "1",
        "occlusion": "2",
    }


def test_zip_files_become_voc(source: Path, tmp_path: Path) -> None:
    zip_source(source)
    summary = convert(source, tmp_path / "out", "train")
    check_result(tmp_path / "out")
    assert summary.placed == {"extracted": 3}
    again = convert(source, tmp_path / "out", "train")
    assert again.placed == {"already there": 3}
    assert again.kept


def test_matlab_files_become_the_same(source: Path, tmp_path: Path) -> None:
    text = source / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    mat = mat_file(parse_text(TEXT, "gt"))
    text.with_name("wider_face_train.mat").write_bytes(mat)
    text.rename(text.with_suffix(".old"))
    convert(source, tmp_path / "out", "train")
    check_result(tmp_path / "out")


def test_the_truth_can_be_chosen(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no wider_face_train\.mat in"):
        convert(source, tmp_path / "out", "train", truth="mat")


def test_torchvisions_root_is_a_source(tmp_path: Path) -> None:
    make_source(tmp_path / "data" / "widerface")
    assert find_root(tmp_path / "data") == tmp_path / "data" / "widerface"
    assert splits_in(tmp_path / "data") == ["train"]
    convert(tmp_path / "data", tmp_path / "out", "train")
    check_result(tmp_path / "out")


def test_a_subset_is_converted_and_what_lacks_is_named(source: Path, tmp_path: Path) -> None:
    (source / "WIDER_train" / "images" / NAMES[0]).unlink()
    summary = convert(source, tmp_path / "out", "train")
    assert (summary.images, summary.faces, summary.missing) == (2, 1, (NAMES[0],))
    assert not (tmp_path / "out/train/annotations/0--Parade/0_Parade_a_1.xml").exists()


def test_no_image_at_all_is_an_error(source: Path, tmp_path: Path) -> None:
    for name in NAMES:
        (source / "WIDER_train" / "images" / name).unlink()
    with pytest.raises(UserError, match="none of the 3 images listed in"):
        convert(source, tmp_path / "out", "train")
    assert not (tmp_path / "out").exists()


def test_an_unreadable_image_is_left_out_and_named(source: Path, tmp_path: Path) -> None:
    (source / "WIDER_train" / "images" / NAMES[2]).write_bytes(b"no image")
    for _ in range(2):  # and a second run agrees
        summary = convert(source, tmp_path / "out", "train")
        assert (summary.images, summary.unreadable) == (2, (NAMES[2],))
        left = [name for name in EXPECTED_FILES if "/c." not in name]
        assert files(tmp_path / "out") == left
    assert (source / "WIDER_train" / "images" / NAMES[2]).read_bytes() == b"no image"


def test_the_test_split_has_only_images(source: Path, tmp_path: Path) -> None:
    make_source(source, "test")
    names = "\n".join([*NAMES, "0--Parade/missing.jpg"])
    (source / "wider_face_split" / "wider_face_test_filelist.txt").write_text(names)
    summary = convert(source, tmp_path / "out", "test")
    assert files(tmp_path / "out") == sorted(f"test/images/{name}" for name in NAMES)
    assert (summary.images, summary.missing) == (3, ("0--Parade/missing.jpg",))


def test_rotated_images_keep_box_and_face_together(source: Path, tmp_path: Path) -> None:
    path = source / "WIDER_train" / "images" / NAMES[2]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (600, 500)).save(path, exif=exif)
    assert convert(source, tmp_path / "out", "train").turned == 1
    voc = read_voc(tmp_path / "out/train/annotations/1--Handshaking/c.xml")
    assert (voc.width, voc.height) == (500, 600)
    assert voc.objects[0].xyxy == (500 - 14, 5, 500 - 6, 5)


def test_links_waste_no_disk(source: Path, tmp_path: Path) -> None:
    summary = convert(source, tmp_path / "out", "train")
    original = source / "WIDER_train" / "images" / NAMES[0]
    placed = tmp_path / "out" / "train" / "images" / NAMES[0]
    assert summary.placed in ({"linked": 3}, {"hard linked": 3})
    assert placed.samefile(original)


def test_links_survive_a_move_of_both(source: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    source.rename(tmp_path / "a" / "source")
    if convert(tmp_path / "a/source", tmp_path / "a/out", "train").placed != {"linked": 3}:
        pytest.skip("no symbolic links here")
    (tmp_path / "a").rename(tmp_path / "b")
    check_result(tmp_path / "b" / "out")


def refuse(*_: object, **__: object) -> None:
    raise OSError("A required privilege is not held by the client")


def test_windows_without_privileges_gets_hard_links(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert convert(source, tmp_path / "out", "train").placed == {"hard linked": 3}
    check_result(tmp_path / "out")
    assert convert(source, tmp_path / "out", "train").placed == {"already there": 3}


def test_where_no_link_is_possible_images_are_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "symlink_to", refuse)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert convert(source, tmp_path / "out", "train").placed == {"copied": 3}
    check_result(tmp_path / "out")


def test_copies_stand_alone(source: Path, tmp_path: Path) -> None:
    assert convert(source, tmp_path / "out", "train", placement="copy").placed == {"copied": 3}
    shutil.rmtree(source)
    check_result(tmp_path / "out")


def test_images_can_stay_where_they_are(source: Path, tmp_path: Path) -> None:
    summary = convert(source, tmp_path / "out", "train", placement="reference")
    assert summary.placed == {"left in place": 3}
    assert files(tmp_path / "out") == [x for x in EXPECTED_FILES if "/images/" not in x]
    zip_source(source)
    with pytest.raises(UserError, match="cannot be left where they are"):
        convert(source, tmp_path / "other", "train", placement="reference")


def test_a_second_run_keeps_everything(source: Path, tmp_path: Path) -> None:
    first = convert(source, tmp_path / "out", "train")
    before = {x: x.stat().st_mtime_ns for x in (tmp_path / "out").rglob("*.xml")}
    second = convert(source, tmp_path / "out", "train")
    assert second.kept
    assert second.placed == {"already there": 3}
    assert (second.faces, second.invalid) == (first.faces, first.invalid)
    assert {x: x.stat().st_mtime_ns for x in (tmp_path / "out").rglob("*.xml")} == before


def test_other_annotations_are_replaced_only_on_request(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", "train")
    truth = source / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    truth.write_bytes(TEXT.replace(b"449", b"448"))
    with pytest.raises(UserError, match=r"made from other truth or other images.*overwrite=True"):
        convert(source, tmp_path / "out", "train")
    convert(source, tmp_path / "out", "train", overwrite=True)
    voc = read_voc(tmp_path / "out/train/annotations/0--Parade/0_Parade_a_1.xml")
    assert voc.objects[0].xyxy[0] == 448
    assert files(tmp_path / "out") == EXPECTED_FILES


def test_annotations_of_others_are_never_replaced_silently(source: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "train" / "annotations" / "mine.xml"
    mine.parent.mkdir(parents=True)
    mine.write_text("<annotation/>")
    with pytest.raises(UserError, match="were not made by `faces prepare wider`"):
        convert(source, tmp_path / "out", "train")
    assert mine.read_text() == "<annotation/>"


@pytest.mark.parametrize("placement", ["link", "copy"])
def test_images_of_others_are_never_replaced_silently(
    source: Path, tmp_path: Path, placement: wider_source.Placement
) -> None:
    mine = tmp_path / "out" / "train" / "images" / NAMES[0]
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match="is another image than the one to be put there"):
        convert(source, tmp_path / "out", "train", placement=placement)
    assert mine.read_bytes() == b"mine"
    convert(source, tmp_path / "out", "train", placement=placement, overwrite=True)
    check_result(tmp_path / "out")


@pytest.mark.parametrize("zipped", [False, True])
def test_an_interrupted_run_leaves_nothing_half_done_and_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    if zipped:
        zip_source(source)
    calls = 0
    real = wider_voc.format_voc

    def interrupted(annotation: object) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(annotation)  # type: ignore[arg-type]

    monkeypatch.setattr(wider_voc, "format_voc", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", "train")
    assert all(name.startswith("train/images/") for name in files(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out" / "train").iterdir()] == ["images"]

    monkeypatch.undo()
    convert(source, tmp_path / "out", "train")
    check_result(tmp_path / "out")


def test_what_a_killed_run_left_is_cleared_away(source: Path, tmp_path: Path) -> None:
    train = tmp_path / "out" / "train"
    part = hashlib.sha256(b"0_Parade_a_1.jpg").hexdigest()[:16]
    for leftover in (".annotations.part/0--Parade/x.xml", f"images/0--Parade/.part-{part}"):
        (train / leftover).parent.mkdir(parents=True)
        (train / leftover).write_text("half")
    convert(source, tmp_path / "out", "train", placement="copy")
    assert files(tmp_path / "out") == EXPECTED_FILES


def test_a_member_that_climbs_out_of_its_zip_is_not_read(source: Path, tmp_path: Path) -> None:
    zip_source(source)
    with zipfile.ZipFile(source / "WIDER_train.zip", "a") as archive:
        archive.writestr("WIDER_train/images/../../../evil.jpg", b"x")
        archive.writestr("/tmp/images/evil.jpg", b"x")
    convert(source, tmp_path / "a" / "b" / "out", "train")
    check_result(tmp_path / "a" / "b" / "out")
    assert not list(tmp_path.rglob("evil.jpg"))


def test_truth_that_climbs_out_of_its_folder_is_refused(source: Path, tmp_path: Path) -> None:
    truth = source / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    truth.write_bytes(TEXT.replace(b"1--Handshaking/c.jpg", b"../../../c.jpg"))
    with pytest.raises(UserError, match="line 8: expected an image"):
        convert(source, tmp_path / "out", "train")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_source(source)
    with zipfile.ZipFile(source / "WIDER_train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"WIDER_train/images/{NAMES[0]}", b"\0" * 2_000_000)
    monkeypatch.setattr(wider_source, "_MAX_IMAGE_BYTES", 1_000_000)
    with pytest.raises(UserError, match=r"would unpack to 2,000,000 bytes, more than 1,000,000"):
        convert(source, tmp_path / "out", "train")
    assert files(tmp_path / "out") == []


def test_a_bomb_in_place_of_the_truth_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wider_source, "MAX_TRUTH_BYTES", 100)
    with pytest.raises(UserError, match="larger than 100 bytes"):
        convert(source, tmp_path / "out", "train")
    zip_source(source)
    with pytest.raises(UserError, match="would unpack to"):
        convert(source, tmp_path / "out", "train")


def test_damaged_zip_files_are_refused_by_name(source: Path, tmp_path: Path) -> None:
    zip_source(source)
    path = source / "WIDER_train.zip"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match=r"WIDER_train\.zip: not a readable zip file"):
        convert(source, tmp_path / "out", "train")
    offset = good.index(b"\xff\xd8")
    path.write_bytes(good[:offset] + b"\0\0\0\0" + good[offset + 4 :])
    with pytest.raises(UserError, match=r"WIDER_train\.zip: .*_1\.jpg is damaged"):
        convert(source, tmp_path / "out", "train")


def test_too_small_a_disk_is_found_out_before_the_first_image(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(wider_voc.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"the images need .* GB"):
        convert(source, tmp_path / "out", "train", placement="copy")
    assert files(tmp_path / "out") == []
    convert(source, tmp_path / "out", "train", placement="link")  # needs none


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("wider_face_split", r"there is no wider_face_train_bbx_gt\.txt or wider_face_train\.mat"),
        ("WIDER_train", r"there is neither .*images nor .*WIDER_train\.zip"),
        ("", r"is not a folder"),
    ],
)
def test_a_source_that_lacks_a_part_is_refused(
    source: Path, tmp_path: Path, remove: str, message: str
) -> None:
    shutil.rmtree(source / remove)
    with pytest.raises(UserError, match=message):
        convert(source, tmp_path / "out", "train")


def test_a_failing_job_drops_the_rest() -> None:
    done: list[int] = []

    def work(i: int) -> None:
        done.append(i)
        if i == 0:
            raise ValueError("first")
        time.sleep(0.01)

    with pytest.raises(ValueError, match="first"):
        list(folders.in_threads(work, range(1000), description="x"))
    assert len(done) < 900


def test_an_atomic_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()

    def fail() -> None:
        with folders.atomic_folder(tmp_path / "a") as new:
            (new / "new").touch()
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert files(tmp_path) == ["a/old"]
    with folders.atomic_folder(tmp_path / "a") as new:
        (new / "new").touch()
    assert files(tmp_path) == ["a/new"]


@pytest.mark.data
def test_the_real_subset_is_converted_without_loss(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "widerface"
    for split, images, faces, invalid, degenerate in (
        ("train", 2000, 25_469, 309, 3),  # 25,470 rows; the all-zero one means "no face"
        ("val", 250, 2681, 80, 0),
    ):
        summary = convert(source, tmp_path, split, placement="reference")  # type: ignore[arg-type]
        assert (summary.images, summary.faces) == (images, faces)
        assert (summary.invalid, summary.degenerate) == (invalid, degenerate)
        text = source / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
        for image in parse_text(text.read_bytes(), text.name):
            path = tmp_path / split / "annotations" / Path(image.name).with_suffix(".xml")
            annotation = read_voc(path)
            assert np.array_equal(annotation.boxes(), image.xyxy())
            assert [item.difficult for item in annotation.objects] == image.invalid().tolist()

"""One set divided into two parts: near-duplicates together, the same every time, or refused."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from detector.data.alike import alike_groups
from detector.data.division import LEAST, Division, divide, read_division
from faces.errors import UserError

SIZE = (240, 180)


def scene(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """As photographs, with less contrast the finer it gets; unlike that of every other seed."""
    random = np.random.default_rng(seed)
    pixels = np.full((size[1], size[0]), 105.0)
    for cells in (2, 3, 5, 9, 17, 65):
        grid = Image.fromarray(random.normal(size=(cells, cells + 1)).astype(np.float32))
        pixels += 75 / cells * np.asarray(grid.resize(size, Image.Resampling.BICUBIC))
    return Image.fromarray(pixels.clip(0, 190).astype(np.uint8)).convert("RGB")


def packed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def cut(image: Image.Image, share: float) -> Image.Image:
    w, h = image.size
    return image.crop((round(w * (1 - share)), round(h * (1 - share)), w, h))


VARIANTS = {
    "small.png": lambda image: image.resize((120, 90)),
    "square.jpg": lambda image: image.resize((300, 300)),
    "packed.jpg": lambda image: packed(image, 25),
    "cut.png": lambda image: cut(image, 0.97),
    "bright.jpg": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "dark.png": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "mirrored.png": ImageOps.mirror,
    "gray.png": lambda image: image.convert("L"),
}


def write(folder: Path, pictures: dict[str, Image.Image]) -> list[tuple[str, Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in pictures.items():
        image.save(folder / name)
    return [(name, folder / name) for name in sorted(pictures)]


def drawn(files: list[tuple[str, Path]], share: float = 0.1, seed: int = 0) -> Division:
    return divide(files, [1] * len(files), share, seed, alike_groups)


@pytest.mark.slow
def test_variants_of_a_picture_are_one_group_and_other_pictures_are_not(tmp_path: Path) -> None:
    pictures = {f"{i}.png": scene(i) for i in range(30)}
    for i in range(30):
        pictures |= {f"{i}-{name}": make(scene(i)) for name, make in VARIANTS.items()}
    files = write(tmp_path, pictures)
    groups = alike_groups([path for _, path in files])
    found: dict[str, set[int]] = {}
    for (name, _), group in zip(files, groups, strict=True):
        found.setdefault(name.split("-")[0].split(".")[0], set()).add(int(group))
    assert all(len(numbers) == 1 for numbers in found.values()), found
    assert len(set(groups.tolist())) == 30


def test_a_turned_photo_is_like_its_upright_copy(tmp_path: Path) -> None:
    upright = scene(1)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    upright.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif)
    upright.save(tmp_path / "upright.png")
    assert alike_groups([tmp_path / "turned.jpg", tmp_path / "upright.png"]).tolist() == [0, 0]


@pytest.mark.slow
def test_near_duplicates_never_lie_in_both_parts(tmp_path: Path) -> None:
    pictures = {f"{i:02d}.png": scene(i) for i in range(60)}
    for i in range(0, 60, 3):
        pictures |= {f"{i:02d}-{n}": VARIANTS[n](scene(i)) for n in ("packed.jpg", "cut.png")}
    files = write(tmp_path, pictures)
    for seed in range(5):
        division = drawn(files, seed=seed)
        scenes = [{name[:2] for name in part} for part in (division.train, division.valid)]
        assert not scenes[0] & scenes[1]
        assert len(division.valid) == 10
        assert len(division.train) == 90


def test_the_versions_of_a_picture_that_roboflow_made_stay_together(tmp_path: Path) -> None:
    digest = "0123456789abcdef0123456789abcdef"
    names = [f"a_jpg.rf.{digest}.png", f"a_jpg.rf.{digest[::-1]}.png", f"b_jpg.rf.{digest}.png"]
    files = write(tmp_path, {name: scene(i) for i, name in enumerate(names)})
    assert alike_groups([path for _, path in files]).tolist() == [0, 0, 1]


@pytest.mark.slow
def test_it_is_the_same_every_time_and_another_with_another_seed(tmp_path: Path) -> None:
    files = write(tmp_path / "a", {f"{i}.png": scene(i) for i in range(40)})
    first = drawn(files)
    shutil.copytree(tmp_path / "a", tmp_path / "moved")
    moved = [(name, tmp_path / "moved" / name) for name, _ in files]
    assert drawn(moved[::-1]).to_dict() == first.to_dict()
    assert drawn(files, seed=1).valid != first.valid
    first.write(tmp_path)
    assert read_division(tmp_path) == first == read_division(tmp_path / "split.json")


@pytest.mark.parametrize(("count", "kept"), [(2, 1), (3, 1), (10, 2), (60, LEAST), (150, 15)])
def test_how_many_are_kept(
    tmp_path: Path, count: int, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    files = write(tmp_path, {f"{i:03d}.png": Image.new("RGB", (8, 8)) for i in range(count)})
    division = divide(files, [1] * count, 0.1, 0, lambda paths: range(len(paths)))
    assert (len(division.train), len(division.valid)) == (count - kept, kept)
    assert ("say little" in caplog.text) == (kept < LEAST)


def test_one_picture_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a single picture .* give pictures to validate on"):
        drawn(write(tmp_path, {"only.png": scene(0)}))


def test_pictures_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    files = write(tmp_path, {name: make(scene(3)) for name, make in VARIANTS.items()})
    with pytest.raises(UserError, match=r"all 8 pictures with faces show nearly the same"):
        drawn(files)


def film(seed: int, count: int) -> list[Image.Image]:
    """Frames over which a camera pans slowly: neighbors are alike, first and last are not."""
    wide = scene(seed, (SIZE[0] * 3, SIZE[1]))
    return [wide.crop((6 * i, 0, 6 * i + SIZE[0], SIZE[1])) for i in range(count)]


def test_the_frames_of_a_film_stay_together(tmp_path: Path) -> None:
    pictures = {
        f"{name}-{i:02d}.jpg": frame
        for name, seed in (("a", 1), ("b", 2), ("c", 3), ("d", 4))
        for i, frame in enumerate(film(seed, 25))
    }
    files = write(tmp_path, pictures)
    division = drawn(files)
    films = [{name[0] for name in part} for part in (division.train, division.valid)]
    assert not films[0] & films[1]
    assert len(division.valid) == 25
    with pytest.raises(UserError, match="show nearly the same"):
        drawn([both for both in files if both[0].startswith("a")])


def test_two_groups_of_which_the_smaller_is_a_half_or_less(tmp_path: Path) -> None:
    files = write(tmp_path, {f"{i}.png": Image.new("RGB", (8, 8)) for i in range(9)})
    division = divide(files, [1] * 9, 0.1, 0, lambda paths: [0, 0, 0, 0, 1, 1, 1, 1, 1])
    assert sorted(division.valid) == ["0.png", "1.png", "2.png", "3.png"]


def test_both_parts_have_faces(tmp_path: Path) -> None:
    files = write(tmp_path, {f"{i}.png": Image.new("RGB", (8, 8)) for i in range(30)})
    faces = [int(name in ("4.png", "17.png")) for name, _ in files]
    for seed in range(20):
        division = divide(files, faces, 0.2, seed, lambda paths: range(len(paths)))
        for part in (division.train, division.valid):
            assert len({"4.png", "17.png"} & set(part)) == 1
    with pytest.raises(UserError, match=r"all 1 picture with faces"):
        divide(files, [1] + [0] * 29, 0.2, 0, lambda paths: range(len(paths)))


def test_what_the_network_has_learned_from_is_not_to_validate_on(tmp_path: Path) -> None:
    """Nor what is like it; where that leaves too little, all is divided as ever."""
    files = write(tmp_path, {f"{i:02d}.png": Image.new("RGB", (8, 8)) for i in range(60)})
    learned = [i < 30 for i in range(60)]

    def kept(learned: list[bool], of: Callable[[int], int] = int) -> set[int]:
        groups = [of(i) for i in range(60)]
        division = divide(files, [1] * 60, 0.25, 0, lambda paths: groups, learned)
        return {int(name[:2]) for name in division.valid}

    assert len(kept(learned)) == 15
    assert min(kept(learned)) >= 30
    assert min(kept(learned, lambda i: i // 2 * 2 if i < 40 else i)) >= 30
    assert min(kept(learned, lambda i: i % 30 if i < 40 else i)) >= 40  # 30 is like 0
    assert kept([True] * 60) == kept([]) == kept([False] * 60)
    assert min(kept([True] * 20 + [False] * 40, lambda i: min(i, 20))) < 20  # a film of 40


@pytest.mark.parametrize("text", ["{", "[]", '{"train": {}}', '{"train": 3, "valid": {}}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(UserError, match=r"split\.json (is damaged|holds no division)"):
        read_division(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_division(tmp_path / "elsewhere.json")


def test_pictures_that_came_later_are_left_out_and_a_lost_part_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    division = Division({"a.png": 1, "b.png": 1}, {"c.png": 1})
    assert division.rows(["a.png", "c.png", "new.png"], tmp_path) == ([0], [1])
    assert "1 picture of" in caplog.text
    assert "new.png" in caplog.text
    with pytest.raises(UserError, match="none of the pictures that the run is to validate on"):
        division.rows(["a.png", "b.png"], tmp_path)

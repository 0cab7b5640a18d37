"""examples/web: the detector in a browser finds what it finds here."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from detector import load_detector
from detector.data.portraits import portraits
from detector.inference.resize import Resize
from detector.types import Detections
from faces.images.read import read_image
from tests.conftest import Keep
from tests.pipeline.web.browsing import PATIENCE, wait, watched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[3] / "examples/web"
WEIGHTS = Path(__file__).parents[3] / "detector/weights/SHA256SUMS"


@pytest.fixture(scope="session")
def fetched(keep: Keep) -> Path:
    """What fetch.py fetches, once."""
    fetch = runpy.run_path(str(EXAMPLE / "fetch.py"))["fetch"]
    try:
        return keep(
            "example_web", (EXAMPLE / "fetch.py", WEIGHTS), lambda folder: fetch(out=folder)
        )
    except SystemExit as error:
        if "cannot be had" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="session")
def address(fetched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example on a plain static server."""
    site = tmp_path_factory.mktemp("site")
    for file in EXAMPLE.glob("*.*"):
        if file.suffix in (".html", ".js"):
            shutil.copy(file, site)
    shutil.copytree(fetched, site, dirs_exist_ok=True)
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", site]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        found = re.search(r"port (\d+)", server.stdout.readline())
        assert found is not None
        yield f"http://127.0.0.1:{found[1]}/"
        server.terminate()


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    opened = chromium.new_page()
    problems = watched(opened)
    outside: list[str] = []
    opened.on("request", lambda x: x.url.startswith(("data:", address)) or outside.append(x.url))
    opened.goto(address)
    yield opened
    opened.close()
    assert problems == []
    assert outside == []  # the photo goes nowhere


def boxes(page: Any, name: str) -> np.ndarray:
    """What the page says of a photo, when it has said it: x1 y1 x2 y2 score."""
    wait(page, f"/{re.escape(name)}: \\d+ faces/.test(document.querySelector('#status').innerText)")
    rows = [line.split() for line in page.inner_text("#boxes").splitlines()]
    return np.array(rows, float).reshape(-1, 5)


def check(found: np.ndarray, expected: Detections) -> None:
    assert len(expected) > 0
    assert len(found) == len(expected)
    np.testing.assert_allclose(found[:, :4], expected.xyxy, atol=0.5)
    np.testing.assert_allclose(found[:, 4], expected.score, atol=0.02)


def test_photos_have_the_boxes_that_they_have_here(page: Any, tmp_path: Path) -> None:
    """Shrunk and not, odd sizes, turned by EXIF, gray, chosen one after the other."""
    photo = Image.fromarray(next(iter(portraits().values())))
    turned = Image.Exif()
    turned[0x0112] = 6
    sizes = {"small.png": (333, 301), "large.jpg": (1501, 1999)}
    for name, size in sizes.items():
        photo.resize(size, Image.Resampling.LANCZOS).save(tmp_path / name, quality=95)
    photo.resize((901, 700)).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "turned.jpg", quality=95, exif=turned
    )
    photo.convert("L").save(tmp_path / "gray.png")
    wide = Image.new("RGB", (1601, 512), (40, 90, 60))
    wide.paste(photo, (1000, 0))
    wide.save(tmp_path / "wide.jpg", quality=95)
    detector = load_detector(threads=1)
    for name in (*sizes, "turned.jpg", "gray.png", "wide.jpg"):
        page.set_input_files("#file", tmp_path / name)
        check(boxes(page, name), detector.detect(read_image(tmp_path / name)))


def test_a_photo_can_be_dropped(page: Any, tmp_path: Path) -> None:
    Image.fromarray(next(iter(portraits().values()))).save(tmp_path / "dropped.png")
    content = (tmp_path / "dropped.png").read_bytes()
    page.evaluate(
        """content => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], "dropped.png"));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        }""",
        list(content),
    )
    check(
        boxes(page, "dropped.png"),
        load_detector(threads=1).detect(next(iter(portraits().values()))),
    )


def test_what_is_no_photo_is_named(page: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    page.set_input_files("#file", tmp_path / "notes.jpg")
    wait(page, "document.querySelector('#status').innerText.includes('save it as JPEG or PNG')")
    assert page.inner_text("#boxes") == ""


def test_the_camera_is_watched_until_it_is_stopped(page: Any) -> None:
    page.click("#camera")
    wait(page, "/camera: [1-9]\\d* faces/.test(document.querySelector('#status').innerText)")
    assert page.inner_text("#boxes")
    page.click("text=Stop the camera")
    page.wait_for_selector("text=Use the camera", timeout=PATIENCE)


RESIZE = """async ([rgba, width, height]) => {
    const { resize } = await import("./resize.js");
    const found = resize(new Uint8ClampedArray(rgba), width, height, 64);
    return [Array.from(found.pixels), found.width, found.height, found.scale];
}"""


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (200, 131), (47, 199), (300, 1), (31, 20)])
def test_the_resize_is_pillows_bit_for_bit(page: Any, size: tuple[int, int]) -> None:
    width, height = size
    rgba = np.random.default_rng(width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels, new_width, new_height, scale = page.evaluate(
        RESIZE, [rgba.ravel().tolist(), width, height]
    )
    expected = Resize(side=64)(np.ascontiguousarray(rgba[..., :3]))
    found = np.array(pixels, np.uint8).reshape(new_height, new_width, 3)
    # Before version 13 Pillow rounds tall pictures in the other order.
    most = 0 if int(PIL.__version__.split(".")[0]) >= 13 else 1
    np.testing.assert_allclose(found.astype(int), expected.pixels, rtol=0, atol=most)
    assert tuple(scale) == pytest.approx(expected.scale)


def test_another_file_than_the_pinned_one_is_not_opened(tmp_path: Path) -> None:
    fetch = runpy.run_path(str(EXAMPLE / "fetch.py"))["fetch"]
    (tmp_path / "other.tgz").write_bytes(b"something else")
    with pytest.raises(SystemExit, match="is not the file it was"):
        fetch((tmp_path / "other.tgz").as_uri(), out=tmp_path / "out")
    with pytest.raises(SystemExit, match="cannot be had"):
        fetch((tmp_path / "none.tgz").as_uri(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()

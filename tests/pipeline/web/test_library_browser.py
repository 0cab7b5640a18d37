"""The tab of a library in a real browser: with keys alone, on a phone in the dark, by axe-core."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.data.portraits import portraits
from pipeline.analyzer import FaceAnalyzer
from pipeline.library.page.lists import PAGE
from pipeline.library.parts import table_of, write_manifest, write_part
from pipeline.library.schema import Manifest
from recognizer.types import unit
from tests.pipeline.library.made import face_row
from tests.pipeline.web.browsing import faults, title, until, wait, watched
from tests.pipeline.web.test_review_browser import DROP, WIDE, jpeg, shoot, tab_to

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STRANGERS = PAGE + 10
ZOOMS = (1.0, 0.8, 0.65)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people in three real photos each, of which one is gone, and many made strangers."""
    folder = tmp_path_factory.mktemp("tab")
    analyzer = FaceAnalyzer()
    rows: list[dict[str, Any]] = []
    random = np.random.default_rng(0)

    def like(vector: Any) -> Any:  # another moment of the same person
        return unit(vector + 0.35 * unit(random.standard_normal(128))).astype(np.float32)

    for name, portrait in portraits().items():
        for i, zoom in enumerate(ZOOMS):
            path = folder / f"{name} {i}.jpg"
            size = tuple(round(zoom * side) for side in portrait.shape[1::-1])
            photo = np.asarray(Image.fromarray(portrait).resize(size))
            path.write_bytes(jpeg(photo))
            [face] = analyzer.analyze(photo)[:1]
            box = dict(zip(("x1", "y1", "x2", "y2"), face.box, strict=True))
            rows.append(
                face_row(str(path), 0, like(face.embedding), width=size[0], height=size[1], **box)
            )
            if i == 2:
                path.unlink()
    for person in range(STRANGERS):
        own = unit(random.standard_normal(128))
        color = tuple(random.integers(60, 220, 3).tolist())
        for i in range(2):
            path = folder / f"stranger {person}-{i}.png"
            Image.new("RGB", (400, 300), color).save(path)
            rows.append(face_row(str(path), 0, like(own)))
    lib = folder / "lib"
    write_manifest(lib, Manifest("made", analyzer.embedder.fingerprint, 128, {}))
    rows.sort(key=lambda row: str(row["path"]))
    write_part(lib, "all", table_of(rows, 128))
    return lib


@pytest.fixture
def opened(chromium: Any, serve: Callable[..., Any], library: Path) -> Callable[..., Any]:
    """Opens the tab; nothing is decided yet."""
    for kept in library.glob("decisions.db*"):
        kept.unlink()
    server = serve("browser", "--library", str(library))

    def open_tab(**context: Any) -> tuple[Any, list[str]]:
        page = chromium.new_context(**context).new_page()
        problems = watched(page)
        page.goto(server.url)
        until(lambda: page.locator("#to-library").is_visible(), "a library is offered", page)
        return page, problems

    return open_tab


def heading(page: Any, says: str) -> None:
    """Until a list has this heading."""
    until(lambda: says in page.locator("#library-lists h3").all_inner_texts(), says, page)


def pictured(page: Any) -> None:
    """Until the pictures that can be seen are there."""
    wait(
        page,
        """() => [...document.querySelectorAll('#library img')].every(
        one => one.getBoundingClientRect().top > innerHeight || one.complete)""",
    )


def test_the_library_is_walked_through_with_keys_alone(opened, library):
    page, problems = opened()
    tab_to(page, "Library")
    heading(page, f"Without a name ({STRANGERS + 2})")
    assert page.evaluate("document.activeElement.id") == "library-title"
    items = page.locator("#library-lists li")
    assert items.count() == PAGE
    pictured(page)
    assert faults(page) == []
    shoot(page, "library")

    # Who is in most photos comes first, and gets a name.
    tab_to(page, "Name: Somebody, 3 photos")
    until(lambda: title(page) == "Who is this?")
    page.keyboard.type("Eileen \u00c9")
    page.keyboard.press("Enter")
    heading(page, "People (1)")
    heading(page, f"Without a name ({STRANGERS + 1})")
    until(lambda: "Undo: 3 is Eileen \u00c9" in page.inner_text("#library-undo"), "undo", page)
    tab_to(page, "Show more: Without a name")
    until(lambda: items.count() == STRANGERS + 2, "the rest of them", page)

    # Two groups are one person; that is taken back.
    boxes = page.locator("#library-lists section:nth-child(2) li input")
    for i in (1, 2):
        boxes.nth(i).focus()
        page.keyboard.press("Space")
    until(lambda: page.inner_text("#library-chosen") == "2 people chosen", "chosen", page)
    assert faults(page) == []
    shoot(page, "library-chosen")
    page.get_by_role("button", name="The same person").press("Enter")
    heading(page, f"Without a name ({STRANGERS})")
    until(lambda: page.locator("#library-bar").is_hidden(), "nothing is chosen", page)
    page.keyboard.press("Control+z")
    heading(page, f"Without a name ({STRANGERS + 1})")

    # Her photos; one is not her, one is gone.
    tab_to(page, "Eileen \u00c9")
    heading(page, "Photos (3)")
    assert page.inner_text("#library-title") == "Eileen \u00c9"
    pictured(page)
    widths = page.eval_on_selector_all("#library img", "all => all.map(one => one.naturalWidth)")
    assert len(widths) == 3
    assert all(widths), "a placeholder stands for the photo that is gone"
    assert faults(page) == []
    shoot(page, "library-person")
    tab_to(page, "Whole photo")
    until(lambda: page.locator("#library-box").is_visible(), "her face in the photo", page)
    assert faults(page) == []
    shoot(page, "library-photo")
    page.keyboard.press("Escape")
    # Of the very face that her page was found by.
    page.locator(f"#library-lists input[value='{page.url.rpartition('/')[2]}']").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Not Eileen \u00c9").press("Enter")
    heading(page, "Photos (2)")
    assert page.inner_text("#library-title") == "Eileen \u00c9"
    page.keyboard.press("Control+z")
    heading(page, "Photos (3)")
    page.go_back()
    heading(page, "People (1)")
    page.fill("#library-name", "nobody of that name")
    until(lambda: "Nobody is here." in page.inner_text("#library-lists"), "nobody", page)
    page.fill("#library-name", "eil")
    heading(page, "People (1)")
    assert problems == []
    page.context.close()


def test_a_photo_is_dropped_to_search_with_on_a_phone_in_the_dark(opened):
    page, problems = opened(
        viewport={"width": 360, "height": 640}, color_scheme="dark", has_touch=True, is_mobile=True
    )
    page.locator("#to-library").tap()
    heading(page, f"Without a name ({STRANGERS + 2})")
    pictured(page)
    assert faults(page) == []
    assert not page.evaluate(WIDE)
    shoot(page, "phone-library")
    photo = jpeg(np.asarray(Image.fromarray(portraits()["eileen_collins"]).rotate(4)))
    page.evaluate(DROP, ["dropped.jpg", base64.b64encode(photo).decode()])
    heading(page, "Most alike first (3)")
    assert not page.evaluate("document.querySelector('#photos').open"), "nobody is enrolled by it"
    pictured(page)
    files = page.locator("#library-lists li button").evaluate_all(
        "all => all.map(one => one.ariaLabel)"
    )
    assert all("eileen" in file for file in files)
    assert faults(page) == []
    assert not page.evaluate(WIDE)
    shoot(page, "phone-library-search")
    page.locator("#library-lists li input").first.tap()
    page.get_by_role("button", name="This is …").tap()
    page.fill("#ask-name", "Eileen")
    page.keyboard.press("Enter")
    until(lambda: "is Eileen" in page.inner_text("#library-undo"), "it is kept", page)
    until(lambda: "Eileen, " in page.inner_text("#library-lists"), "her name", page)
    shoot(page, "phone-library-named")
    small = page.eval_on_selector_all(
        "button, nav a, #library a, input[type=search]",
        "all => all.filter(one => one.offsetParent && one.getBoundingClientRect().height < 44)"
        ".map(one => one.textContent)",
    )
    assert small == [], "too small for a finger"
    page.evaluate(
        DROP, ["no face.jpg", base64.b64encode(jpeg(np.zeros((90, 90, 3), np.uint8))).decode()]
    )
    until(lambda: title(page) == "Not searched", "why not", page)
    assert "no face was found" in page.inner_text("#ask-text")
    assert problems == []
    page.context.close()

"""Several cameras in a real browser: a tile each, teaching in any, drawing zones with keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.web.browsing import Server, until, wait, wait_listed, watched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FACE = ".tile[data-camera='{}'] .faces button"
CHOOSE = """camera => {
    const face = document.querySelector(`.tile[data-camera='${camera}'] .faces button`);
    face?.click();
    return document.querySelector('#ask').open;
}"""
NAMED = """([camera, name]) => [...document.querySelectorAll(
    `.tile[data-camera='${camera}'] .faces button`
)].some(button => button.textContent.startsWith(name))"""


def test_two_cameras(chromium: Any, film: Path, serve: Callable[[str], Server], tmp_path) -> None:
    server = serve(f"door={film} garden={film}")
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    problems = watched(page)
    page.goto(server.url)
    for camera in ("door", "garden"):
        until(lambda c=camera: page.locator(FACE.format(c)).count(), f"a face at {camera}", page)
    assert page.locator("#stage").is_hidden()
    assert page.locator("#camera").is_hidden(), "no browser's camera among several"
    page.evaluate(
        "document.querySelector('#tiles').prepend(document.querySelector('#tiles').lastChild)"
    )
    names = page.locator("#tiles figcaption strong")  # whichever camera shows its picture first
    until(lambda: names.all_inner_texts() == ["door", "garden"], "tiles in their order", page)

    # A face in the second tile is taught, and known in both.
    def taught() -> bool:
        if page.evaluate(CHOOSE, "garden"):
            page.fill("#ask-name", "Zoë")
            page.locator("#ask-buttons").get_by_role("button", name="Teach", exact=True).click()
            until(lambda: not page.evaluate("document.querySelector('#ask').open")
                  or page.inner_text("#ask-error"), "an answer", page)  # fmt: skip
            if page.evaluate("document.querySelector('#ask').open"):
                page.keyboard.press("Escape")  # not every moment shows a face to learn from
            else:  # the list of people comes with the next message
                until(lambda: "Zoë" in page.inner_text("#people"), "Zoë in the list", page)
        return "Zoë" in page.inner_text("#people")

    until(taught, "Zoë is taught", page)
    for camera in ("door", "garden"):
        wait(page, NAMED, [camera, "Zoë"])
    wait_listed(page, "Zoë")

    # A zone is drawn at the door, with keys only; it is there after the page is opened again.
    page.get_by_role("button", name="Zones of door").focus()
    page.keyboard.press("Enter")
    for keys in (["ArrowLeft"] * 3, ["ArrowUp"] * 3, ["ArrowRight"] * 3):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.keyboard.press("c")
    page.locator(".tile[data-camera='door'] input[type=number]").fill("21")
    page.locator(".tile[data-camera='door']").get_by_role("button", name="Save").press("Enter")
    kept = tmp_path / "people.cameras.json"
    until(kept.exists, "the zone is kept", page)
    area = json.loads(kept.read_text(encoding="utf-8"))["cameras"]["door"]
    assert area == {"zones": [[[0.44, 0.5], [0.44, 0.44], [0.5, 0.44]]], "min_face": 21}
    page.set_viewport_size({"width": 390, "height": 800})
    page.reload()
    until(lambda: page.locator(".tile[data-camera='door'] .zone").count() == 1, "the zone", page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a phone"
    until(lambda: page.locator(FACE.format("door")).count() == 0, "no face in the zone", page)
    assert problems == []

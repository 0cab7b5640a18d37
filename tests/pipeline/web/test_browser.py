"""The page in a real browser, with a film in place of a camera and the real networks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.pipeline.web.browsing import (
    PATIENCE,
    answer_again,
    asked,
    choose,
    face,
    name_face,
    names,
    press,
    title,
    until,
    wait,
    wait_face,
    wait_listed,
    wait_no_face,
    watched,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STATE = "state => document.querySelector('#connection').dataset.state === state"

PHONE = {"width": 360, "height": 640}


def test_a_face_is_taught_known_after_reload_and_restart_and_forgotten(chromium, serve):
    server = serve("browser")
    page = chromium.new_page()
    problems = watched(page)
    page.goto(server.url)
    page.click("#camera")

    # A face of the browser's own camera is boxed; it is clicked and named.
    wait_face(page, "Unknown")
    click_face(page, "Unknown")
    name_face(page, "Unknown", "Ada", asked_for=True)
    wait_listed(page, "Ada")
    wait_face(page, "Ada")
    assert "Ada" in page.inner_text("#teaching-text")

    # It survives a reload,
    page.reload()
    wait_listed(page, "Ada")
    page.click("#camera")
    wait_face(page, "Ada")

    # and the end of the server: the page tells, and comes back by itself.
    server.stop()
    wait(page, STATE, "wait")
    assert "No connection" in page.inner_text("#status")
    server.start()
    wait(page, STATE, "good")
    wait_face(page, "Ada")
    wait(page, "document.querySelector('#status').hidden")

    # Forgetting is asked about first.
    page.get_by_role("button", name="Forget Ada").click()
    press(page, "Cancel")
    assert names(page) == ["Ada"]
    page.get_by_role("button", name="Forget Ada").click()
    press(page, "Forget")
    page.wait_for_selector("#nobody:not([hidden])", timeout=PATIENCE)
    wait_no_face(page, "Ada")
    assert not server.holds("Ada")
    assert problems == []
    page.close()


def test_people_are_taught_and_put_right_from_the_keyboard(chromium, serve, film):
    server = serve(str(film))  # the machine's camera this time
    page = chromium.new_page()
    problems = watched(page)
    page.goto(server.url)
    wait_face(page, "Unknown")

    # Esc while the name is typed, and Esc while pictures are gathered: no trace is left.
    choose(page, "Unknown")
    page.keyboard.type("Evelyn")
    page.keyboard.press("Escape")
    assert not asked(page)
    assert names(page) == []
    name_face(page, "Unknown", "Evelyn")
    wait_face(page, "Evelyn")

    def cancelled() -> bool:
        page.keyboard.press("Escape")
        return page.inner_text("#teaching-text").startswith("Cancelled")

    until(cancelled, "the teaching is cancelled")
    wait_listed(page)
    wait_no_face(page, "Evelyn")
    assert not server.holds("Evelyn")

    # While a name is typed somebody else teaches the same face: the duplicate is pointed out.
    def taught_twice() -> bool:
        track = choose(page, "Unknown")
        page.keyboard.type("Eve")
        if not teach_elsewhere(server, track, "Ada"):  # it cannot be learned from just now
            page.keyboard.press("Escape")
            return False
        page.keyboard.press("Enter")
        return True

    def pointed_out() -> bool:
        answer_again(page)
        return title(page) == "Is this Ada?"

    until(taught_twice, "the face is taught by somebody else")
    until(pointed_out, "the duplicate is pointed out")
    assert "looks like Ada" in page.inner_text("#ask-text")
    assert "known already" in page.inner_text("#ask-text")
    press(page, "Yes, Ada")
    wait_listed(page, "Ada")
    wait_face(page, "Ada")

    # Another face under a name that is somebody's: pointed out as well.
    name_face(page, "Unknown", "Ada", answer="who looks different")
    press(page, "Another name")
    until(lambda: title(page) == "Who is this?")
    name_face(page, "Unknown", "Grace", asked_for=True)
    wait_listed(page, "Ada", "Grace")
    wait_face(page, "Grace")
    for name in ("Ada", "Grace"):
        for what in ("Rename", "Merge", "Forget"):
            assert page.get_by_role("button", name=f"{what} {name}", exact=True).is_visible()

    # A wrong name is put right by choosing the face.
    name_face(page, "Grace", "Rosalind")
    wait_listed(page, "Ada", "Rosalind")
    wait_face(page, "Rosalind")

    page.get_by_role("button", name="Rename Rosalind").press("Enter")
    page.keyboard.type("Rosa")
    page.keyboard.press("Enter")
    wait_listed(page, "Ada", "Rosa")
    wait_face(page, "Rosa")

    examine_looks(page)

    page.get_by_role("button", name="Merge Rosa").press("Enter")
    assert page.locator("#ask-choice option").all_inner_texts() == ["Ada"]
    press(page, "Merge")
    wait_listed(page, "Ada")
    assert problems == []
    page.close()


def click_face(page: Any, says: str) -> None:
    """With the mouse; the face moves on meanwhile, so it may be missed."""

    def hit() -> bool:
        box = face(page, says).bounding_box()
        if box is not None:
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        return asked(page)

    until(hit, "a face is hit")


def teach_elsewhere(server: Any, track: int, name: str) -> bool:
    """What the page of somebody else does when that face is named there; whether it was taken."""
    origin = server.url.rstrip("/")
    with connect(origin.replace("http", "ws") + "/live", origin=origin) as other:
        command = {"type": "teach", "id": 1, "track": track, "name": name, "sure": False}
        other.send(json.dumps(command))
        while True:
            message = other.recv(PATIENCE / 1000)
            reply = json.loads(message) if isinstance(message, str) else {"type": "frame"}
            if reply["type"] == "reply":
                return bool(reply["ok"])


# -- how it looks

TOO_WIDE = """() => [document.documentElement, ...document.querySelectorAll(
    'header, main, aside, section, #teaching, #people li, #ask')]
    .filter(box => box.offsetParent !== null || box === document.documentElement || box.open)
    .filter(box => box.scrollWidth > box.clientWidth + 1)
    .map(box => box.id || box.tagName)"""

OUTSIDE = """() => [...document.querySelectorAll('button, h1, h2, p, input, select, img')]
    .filter(one => one.offsetParent !== null && !one.closest('#faces'))
    .filter(one => { const box = one.getBoundingClientRect();
                     return box.left < -1 || box.right > innerWidth + 1; })
    .map(one => one.id || one.textContent)"""

TOO_SMALL = """() => [...document.querySelectorAll('button, input, select')]
    .filter(one => one.offsetParent !== null && !one.closest('#faces'))
    .filter(one => one.getBoundingClientRect().height < 44)
    .map(one => one.getAttribute('aria-label') || one.textContent || one.id)"""

FAINT = """() => {
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b]
        .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const color = parse(getComputedStyle(one).backgroundColor);
            if (color.length < 4 || color[3] > 0.5) return color;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const one of document.querySelectorAll('body *')) {
        const says = [...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!says || one.offsetParent === null || one.closest('#faces')) continue;
        const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push([one.textContent.trim(), contrast]);
    }
    return faint;
}"""
"""Texts with less contrast than WCAG 2.2 asks for (1.4.3, level AA), and how much they have."""


def examine_looks(page: Any) -> None:
    """Small and large, light and dark: everything fits and can be read, also the questions."""
    size = page.viewport_size
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for viewport in (size, PHONE):
            page.set_viewport_size(viewport)
            examine(page, viewport == PHONE)
            for what in ("Merge", "Forget"):
                page.get_by_role("button", name=f"{what} Ada").click()
                until(lambda: asked(page))
                examine(page, viewport == PHONE)
                page.keyboard.press("Escape")
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=None)


def examine(page: Any, phone: bool) -> None:
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(FAINT) == []
    if phone:
        assert page.evaluate(TOO_SMALL) == []
    wait(
        page,
        """() => { const [a, b] = [document.querySelector('#picture'),
        document.querySelector('#stage')].map(one => one.getBoundingClientRect());
        return Math.abs(a.width / a.height - 4 / 3) < 0.02 && Math.abs(a.width - b.width) < 2; }""",
    )

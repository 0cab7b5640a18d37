"""Review, a person's page, photos, "not Ada" and undo in a real browser: with keys alone, on a
phone in the dark, and judged by axe-core.
"""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.pipeline.web.browsing import (
    asked,
    choose,
    faults,
    names,
    press,
    title,
    until,
    wait_face,
    wait_listed,
    watched,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

FOCUS = (
    "() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
)
WIDE = "document.documentElement.scrollWidth > innerWidth"
SHOTS = os.environ.get("FACES_TEST_SCREENSHOTS")
"""A folder for pictures of what was seen, to be looked at."""

DROP = """([name, data]) => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], name, { type: "image/jpeg" }));
    for (const type of ["dragover", "drop"]) {
        document.body.dispatchEvent(
            new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
    }
}"""


def tab_to(page: Any, says: str) -> None:
    """Tab until something that is called so has the focus, then Enter."""

    def there() -> bool:
        page.keyboard.press("Tab")
        return page.evaluate(FOCUS).strip().startswith(says)

    until(there, f"{says} is reached with Tab", page)
    page.keyboard.press("Enter")


def denied(page: Any, name: str) -> bool:
    """Choose such a face and say that it is somebody else; a face that has gone is no help."""
    choose(page, name)
    if title(page) == f"Is this {name}?":
        page.locator("#ask-buttons").get_by_role("button", name=f"Not {name}").press("Enter")
        until(lambda: not asked(page) or page.inner_text("#ask-error"), "an answer", page)
        if not asked(page):  # done; that it can be undone comes with the next list of people
            until(lambda: f"not {name}" in page.inner_text("#undo"), "it can be undone", page)
            return True
    if asked(page):
        page.keyboard.press("Escape")
    return False


def stays_away(page: Any, name: str) -> bool:
    """Whether no face is called so for two seconds."""
    for _ in range(20):
        page.wait_for_timeout(100)
        said = page.locator("#faces button").all_inner_texts()
        if any(text.startswith(name) for text in said):
            return False
    return True


def shoot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def jpeg(image: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    """A good photo, and one without a face."""
    from skimage.data import astronaut, coffee

    paths = {}
    for name, image in (("astronaut", astronaut()), ("coffee", coffee())):
        paths[name] = tmp_path / f"{name}.jpg"
        paths[name].write_bytes(jpeg(image))
    return paths


def test_the_unknown_are_reviewed_and_everything_is_undone_with_keys_alone(chromium, serve, film):
    server = serve(str(film), "--remember-unknown", "7d")
    page = chromium.new_page()
    problems = watched(page)
    page.goto(server.url)
    groups = page.locator("#groups > li")
    until(lambda: page.locator("#to-review").is_visible(), "review is offered", page)
    tab_to(page, "Review")
    until(lambda: groups.count() == 2, "the two are told apart", page)
    assert "is deleted after 7 days" in page.inner_text("#kept") or "Each is" in page.inner_text(
        "#kept"
    )
    assert faults(page) == []
    shoot(page, "review")

    # The first group gets a name, the second is ignored.
    tab_to(page, "Name: Unknown")
    until(lambda: title(page) == "Who is this?")
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    wait_listed(page, "Ada")
    until(lambda: groups.count() == 1, "one group is left", page)
    tab_to(page, "Ignore for ever")
    until(lambda: groups.count() == 0, "nobody is left", page)
    until(lambda: "ignored for ever" in page.inner_text("#undo"), "it can be undone", page)
    page.keyboard.press("Control+z")
    until(lambda: groups.count() >= 1, "the ignored are back", page)

    # Her page.
    tab_to(page, "Ada")
    until(lambda: page.inner_text("#person-title") == "Ada", "her page", page)
    until(lambda: page.locator("#samples li").count() >= 1, "her examples", page)
    until(lambda: "last seen" in page.inner_text("#person-facts"), "when she was here", page)
    assert faults(page) == []
    shoot(page, "person")
    tab_to(page, "Rename: Ada")
    until(lambda: title(page) == "Rename Ada")
    page.keyboard.type("Grace")
    page.keyboard.press("Enter")
    wait_listed(page, "Grace")
    page.keyboard.press("Control+z")
    wait_listed(page, "Ada")

    # She is known on the picture; that it is not her is said once, and holds.
    tab_to(page, "Live")
    wait_face(page, "Ada")
    until(lambda: denied(page, "Ada"), "it is noted", page)
    until(lambda: stays_away(page, "Ada"), "nobody is called so any more", page)
    server.stop()
    server.start()
    wait_face(page, "Unknown")
    until(lambda: stays_away(page, "Ada"), "nor after a restart", page)
    page.keyboard.press("Control+z")
    wait_face(page, "Ada")
    assert problems == []
    page.close()


def test_photos_are_dropped_and_each_tells_why_it_cannot_be_used(chromium, serve, photos):
    server = serve("browser")
    page = chromium.new_page()
    problems = watched(page)
    page.goto(server.url)
    page.wait_for_selector("#connection[data-state=good]")
    page.set_input_files("#photos-file", [photos["astronaut"], photos["coffee"]])
    items = page.locator("#photos-list li")
    until(lambda: "1 of 2 can be used" in page.inner_text("#photos-count"), "both looked at", page)
    assert items.nth(0).get_attribute("data-state") == "fine"
    assert "no face was found" in items.nth(1).inner_text()
    assert faults(page) == []
    shoot(page, "photos")
    page.fill("#photos-name", "Eileen")
    page.keyboard.press("Enter")
    wait_listed(page, "Eileen")
    until(lambda: not page.evaluate("document.querySelector('#photos').open"), "it is done", page)

    # The same photo again, dropped this time: nothing new.
    data = base64.b64encode(photos["astronaut"].read_bytes()).decode()
    page.evaluate(DROP, ["again.jpg", data])
    until(lambda: "1 of 1 can be used" in page.inner_text("#photos-count"), "looked at", page)
    page.fill("#photos-name", "Eileen")
    page.keyboard.press("Enter")
    until(lambda: "near-duplicate" in page.inner_text("#photos-list"), "the reason", page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Forget Eileen").click()
    press(page, "Forget")
    page.wait_for_selector("#nobody:not([hidden])")
    assert page.locator("#undo").is_hidden(), "forgetting is for ever"
    assert not server.holds("Eileen")
    assert problems == []
    page.close()


def test_every_view_is_usable_on_a_phone_in_the_dark(chromium, serve, film, photos):
    server = serve(str(film), "--remember-unknown", "1h")
    context = chromium.new_context(
        viewport={"width": 360, "height": 640}, color_scheme="dark", has_touch=True, is_mobile=True
    )
    page = context.new_page()
    problems = watched(page)
    page.goto(server.url)
    page.wait_for_selector("#connection[data-state=good]")
    page.set_input_files("#photos-file", photos["astronaut"])
    until(lambda: "1 of 1 can be used" in page.inner_text("#photos-count"), "looked at", page)
    page.fill("#photos-name", "Ada")
    page.keyboard.press("Enter")
    wait_listed(page, "Ada")
    until(lambda: page.locator("#to-review").is_visible(), "review is offered", page)
    for view in ("live", "review", "person/Ada"):
        page.evaluate("view => { location.hash = view; }", view)
        until(lambda view=view: page.locator(f"#{view.split('/')[0]}").is_visible(), view, page)
        assert faults(page) == []
        assert not page.evaluate(WIDE), f"{view} is wider than the phone"
        shoot(page, f"phone-{view.split('/')[0]}")
    small = page.eval_on_selector_all(
        "button, nav a, input[type=text]",
        "all => all.filter(one => one.offsetParent && one.closest('#faces') === null "
        "&& one.getBoundingClientRect().height < 44).map(one => one.textContent)",
    )
    assert small == [], "too small for a finger"
    assert names(page) == ["Ada"]
    assert problems == []
    context.close()

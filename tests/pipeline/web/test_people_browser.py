"""The list of people alone, in a real browser: what it asks the server for."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.web.app import FILES, FOLDER
from tests.pipeline.web.browsing import until, watched
from tests.pipeline.web.fakes import PNG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHOW = """async people => {
  const { People } = await import("/people.js");
  const list = document.createElement("ul");
  document.body.append(list);
  new People(list, document.createElement("p"), document.createElement("datalist")).show(people);
  return list.children.length;
}"""


def test_a_picture_that_was_never_kept_is_not_asked_for(chromium: Any) -> None:
    asked: list[str] = []

    def answer(route: Any) -> None:
        path = route.request.url.removeprefix("http://faces.test")
        if path.startswith("/thumbnail"):
            asked.append(path)
            route.fulfill(body=PNG, content_type="image/png")
        elif path.endswith(".js"):
            name, kind = FILES[path]
            route.fulfill(body=(FOLDER / name).read_text(encoding="utf-8"), content_type=kind)
        else:
            route.fulfill(body="<!doctype html><title>x</title>", content_type="text/html")

    page = chromium.new_page()
    problems = watched(page)
    page.route("**/*", answer)
    page.goto("http://faces.test/")
    people = [
        {"name": name, "samples": 2, "crops": crops, "created": "2026", "in_head": False}
        for name, crops in [("Ada", 1), ("Bob", 0), ("\u00c9ve", 0)]
    ]
    assert page.evaluate(SHOW, people) == 3
    # Requests are answered only while playwright is waited for.
    until(lambda: page.evaluate("true") and asked, "the one picture that there is")
    assert [path.partition("&")[0] for path in asked] == ["/thumbnail?name=Ada"]
    letters = page.eval_on_selector_all("div.face", "found => found.map(one => one.textContent)")
    assert letters[-2:] == ["B", "\u00c9"]
    assert problems == []

"""`faces webcam --web` as a process, and what a person does on its page, for tests in a browser.

Nothing here waits for a fixed time: everything waits until the page shows what is expected.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

PATIENCE = 180_000
"""Milliseconds; a busy machine takes its time."""


FOCUSED_TRACK = """says => {
    const one = document.activeElement;
    const fits = one.closest('#faces') && one.textContent.startsWith(says);
    return fits ? Number(one.dataset.track) : -1;
}"""
"""The track of the face that has the focus; -1 for one that says something else, or none."""


class Server:
    """`faces webcam` with a page, on a port that stays the same when it is started again.

    Args:
        source: ``browser``, or a film in place of the machine's camera; several with spaces.
        gallery: the file of people.
        more: flags.
    """

    def __init__(self, source: str, gallery: Path, *more: str) -> None:
        self.source, self.gallery, self.more = source, gallery, more
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait for its address."""
        command = [sys.executable, "-m", "scripts.main", "webcam", *self.source.split(), "--web",
                   "--again", "--port", str(self.port), "--gallery", str(self.gallery),
                   "--embedder", "mini", "--threads", "1", *self.more]  # fmt: skip
        detector = os.environ.get("FACES_TEST_DETECTOR")
        if detector:
            command += ["--detector", detector]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        told = []
        for line in self.process.stderr:
            told.append(line)
            if self.url in line:
                return
        raise AssertionError(f"it ended with code {self.process.wait()}: {''.join(told)}")

    def stop(self) -> None:
        """End it as a user does with a signal."""
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=120)
            self.process = None

    def holds(self, text: str) -> bool:
        """Whether these letters are anywhere in the files of people."""
        files = self.gallery.parent.glob(f"{self.gallery.name}*")
        return any(text.encode() in file.read_bytes() for file in files)


def watched(page: Any) -> list[str]:
    """Errors of the page, breaches of its policy, and what it asked for in vain, from now on.

    While the server is away, the page tries again and again; the browser tells of each time.
    """
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    def told(message: Any) -> None:
        away = "ERR_CONNECTION" in message.text or "WebSocket connection to" in message.text
        if message.type in ("error", "warning") and not away:
            problems.append(message.text)

    page.on("console", told)
    return problems


def until(true: Callable[[], Any], what: str = "", page: Any = None) -> None:
    """Ask again and again until it is true; else tell what was waited for and what is there."""
    end = time.monotonic() + PATIENCE / 1000
    while not true():
        if time.monotonic() > end:
            says = "" if page is None else f"; the page says:\n{page.inner_text('body')}"
            raise AssertionError(f"waited for {what}{says}")
        time.sleep(0.05)


def wait(page: Any, condition: str, arg: Any = None) -> None:
    """Playwright's own waiting evaluates strings in the page, which its policy forbids."""
    until(lambda: page.evaluate(condition, arg), condition, page)


def faults(page: Any) -> list[tuple[str, str, list[str]]]:
    """What axe-core finds wrong with what is shown now: rule, how grave, where."""
    source = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(source)
    found = page.evaluate("axe.run()")["violations"]
    return [(v["id"], v["impact"], [n["html"][:120] for n in v["nodes"]]) for v in found]


def names(page: Any) -> list[str]:
    """Of the people in the list, in its order."""
    return page.locator("#people .name").all_inner_texts()


def wait_listed(page: Any, *expected: str) -> None:
    """Until exactly these people are known."""
    until(lambda: names(page) == sorted(expected), f"{expected} in the list", page)


def face(page: Any, says: str) -> Any:
    """The button over a face: the name of a known one, else Unknown."""
    return page.locator("#faces button", has_text=says).first


def wait_face(page: Any, says: str) -> None:
    """Until such a face is in the picture."""
    wait(page, """says => [...document.querySelectorAll('#faces button')]
                  .some(button => button.textContent.startsWith(says))""", says)  # fmt: skip


def wait_no_face(page: Any, says: str) -> None:
    """Until no such face is in the picture any more."""
    wait(page, """says => ![...document.querySelectorAll('#faces button')]
                  .some(button => button.textContent.startsWith(says))""", says)  # fmt: skip


def asked(page: Any) -> bool:
    """Whether a question stands on the page."""
    return page.evaluate("document.querySelector('#ask').open")


def title(page: Any) -> str:
    """Of the question; nothing when there is none."""
    return page.inner_text("#ask-title") if asked(page) else ""


def press(page: Any, button: str) -> None:
    """Answer a question, and wait until it is done with."""
    before = page.inner_text("#ask")
    page.locator("#ask-buttons").get_by_role("button", name=button, exact=True).press("Enter")
    until(lambda: not asked(page) or page.inner_text("#ask") != before, f"{button} does something")


def choose(page: Any, says: str) -> int:
    """With keys only: choose such a face; the question for its name stands then. Its track."""
    track = -1

    def chosen() -> bool:
        nonlocal track
        page.keyboard.press("Tab")
        track = page.evaluate(FOCUSED_TRACK, says)
        if track >= 0:
            page.keyboard.press("Enter")
        return asked(page)  # it is not when the face has gone this very moment

    until(chosen, f"a face that is {says} is reached with Tab")
    return track


def answer_again(page: Any) -> str:
    """Try again what was refused: not every moment shows a face that can be learned from.

    Gives what was said. At once within the page: Enter would come too late now and then.
    """
    return page.evaluate("""() => {
        const said = document.querySelector('#ask-error').textContent;
        const open = document.querySelector('#ask').open;
        const busy = document.querySelector('#ask-buttons button:disabled');
        if (open && said && !busy) document.querySelector('#ask-form').requestSubmit();
        return said;
    }""")


def name_face(page: Any, says: str, name: str, answer: str = "", asked_for: bool = False) -> None:
    """With keys only: choose a face, type its name, Enter; until it is done, or ``answer`` stands.

    A face that has gone meanwhile is chosen again. With ``asked_for`` the question stands already.
    """

    def settled() -> bool:
        if not asked(page):
            if answer:  # that was somebody else: a busy machine knows a face again a little later
                choose(page, says)
                enter()
            return not answer
        if answer and answer in page.inner_text("#ask"):
            return True
        said = answer_again(page)
        if "any more" in said or "no name yet" in said:
            page.keyboard.press("Escape")
            choose(page, says)
            enter()
        return False

    def enter() -> None:
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(name)
        page.keyboard.press("Enter")

    if not asked_for:
        choose(page, says)
    enter()
    until(settled, f"{name} is taken", page)

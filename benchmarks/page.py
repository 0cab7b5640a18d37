"""How soon the page of `faces webcam --web` is of use, in a real browser with a film as the camera.

    python -m benchmarks.page                      five loads, the machine's camera, the browser's
    python -m benchmarks.page --loads 20 --library lib

The film is made: two people who move (see `benchmarks/moving_scene.py`), both known. Chromium is
the system's. Of each load it is measured, from the moment at which the address is opened:

- usable: the page is connected, and the first frame is on the canvas (of the browser's camera: its
  button can be pressed);
- named: the first face that says a name (of the browser's camera: from pressing the button);
- library: with --library, from opening its tab until the first people are listed.

Of the program also how long it takes from the command to its address. Exit code 0: usable within
1 s and named within 3 s, medians of the loads; 1: not so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import psutil

from benchmarks.moving_scene import MovingScene, photo_background, portrait_actors
from detector.data.portraits import portraits

USABLE, NAMED = 1.0, 3.0
PATIENCE = 120.0
SECONDS, FPS = 20, 15

WATCH = """() => {
  const times = {}, note = (what) => (times[what] ??= performance.now() / 1000);
  window.facesTimes = times;
  const look = () => {
    const $ = (id) => document.getElementById(id);
    if (!$("connection")) return;
    const connected = $("connection").dataset.state === "good";
    if (connected && !$("camera").hidden) note("button");
    if (connected && $("stage").style.maxWidth) note("usable"); // set by the first frame
    const named = [...$("faces").children].some((one) => !one.textContent.startsWith("Unknown"));
    if (named) note("named");
    if (document.querySelector("#library-lists li")) note("library");
  };
  new MutationObserver(look).observe(document, {
    subtree: true, childList: true, attributes: true, characterData: true });
}"""
"""Notes when what is first there, in seconds since the address was opened."""


def film(path: Path) -> None:
    """Two known people, moving, as frames that Chromium and this project read."""
    scene = MovingScene(portrait_actors(), photo_background(), SECONDS, (105, 135), seed=14)
    with path.open("wb") as file:
        for i in range(SECONDS * FPS):
            image, _ = scene.frame(i / FPS)
            file.write(cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes() * (30 // FPS))


def enroll(path: Path) -> None:
    """Both people of the film."""
    import faces

    with faces.Gallery.open(path, embedder="mini") as gallery:
        for name, photo in portraits().items():
            gallery.add(name, photo)


@contextmanager
def served(source: str, gallery: Path, more: Sequence[str]) -> Iterator[tuple[str, float]]:
    """`faces webcam` with a page: its address, and the seconds until it was printed."""
    command = [sys.executable, "-m", "scripts.main", "webcam", source, "--web", "--again",
               "--port", "0", "--gallery", str(gallery), "--embedder", "mini", *more]  # fmt: skip
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        told = []
        for line in process.stderr:
            told.append(line)
            if "the page is at " in line:
                yield line.rpartition(" ")[2].strip(), time.perf_counter() - start
                break
        else:
            raise RuntimeError("it has ended: " + "".join(told))
    finally:
        process.terminate()
        process.communicate(timeout=60)


def load(browser: Any, url: str, own: bool, library: bool) -> dict[str, float]:
    """Open the page once, without anything kept from before: what was when."""
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script(f"({WATCH})()")
        page.goto(url)
        found: dict[str, float] = {}
        if own:
            found["usable"] = _when(page, "button")
            pressed = page.evaluate("performance.now() / 1000")
            page.locator("#camera").click()
            found["named"] = _when(page, "named") - pressed
        else:
            found["usable"] = _when(page, "usable")
            found["named"] = _when(page, "named")
        if library:
            opened = page.evaluate("location.hash = '#library', performance.now() / 1000")
            found["library"] = _when(page, "library") - opened
        return found


def _when(page: Any, what: str) -> float:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        seen = page.evaluate("what => window.facesTimes[what] ?? null", what)
        if seen is not None:
            return float(seen)
        time.sleep(0.02)
    raise RuntimeError(f"{what} was not seen in {PATIENCE:.0f} s: {page.inner_text('body')}")


def measure(options: argparse.Namespace) -> bool:
    """Print a table; whether all is soon enough."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("chromium is not installed")
    more = [] if options.library is None else ["--library", str(options.library)]
    fine = True
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        camera, gallery = Path(folder) / "camera.mjpeg", Path(folder) / "people.db"
        film(camera)
        enroll(gallery)
        browser = running.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--use-fake-device-for-media-stream",
                  "--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={camera}"],
        )  # fmt: skip
        print("| camera | what | median, s | longest, s |\n|---|---|--:|--:|")
        for who, source in (("the machine's", str(camera)), ("the browser's", "browser")):
            with served(source, gallery, more) as (url, started):
                print(f"| {who} | from the command to its address | {started:.2f} | |")
                own = source == "browser"
                runs = [load(browser, url, own, bool(more)) for _ in range(options.loads)]
            for what in runs[0]:
                values = [run[what] for run in runs]
                middle = statistics.median(values)
                print(f"| {who} | {what} | {middle:.2f} | {max(values):.2f} |", flush=True)
                fine &= middle <= {"usable": USABLE, "named": NAMED}.get(what, PATIENCE)
        browser.close()
    return fine


def main(argv: Sequence[str] | None = None) -> int:
    """Measure as asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--loads", type=int, default=5, help="how often the page is opened [5]")
    parser.add_argument("--library", type=Path, help="a library of `faces index` [none]")
    options = parser.parse_args(argv)
    if options.loads < 1:
        parser.error("--loads must be at least 1")
    print(f"{os.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f} (0 is an idle machine)\n")
    fine = measure(options)
    print(f"\nload {psutil.getloadavg()[0]:.1f}: " + ("fine" if fine else "NOT fine"))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

"""`import faces`: everything for Python under one name, free until it is used."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest

import faces

ROOT = Path(__file__).resolve().parents[1]
SLOW = {"FaceAnalyzer", "Gallery", "train", "export", "evaluate"}

LOOK = """
import sys, json, time
start = time.process_time()
import faces
seconds = time.process_time() - start
print(json.dumps([seconds, sorted(sys.modules), dir(faces)]))
"""


def test_importing_it_loads_nothing_else():
    output = subprocess.check_output([sys.executable, "-c", LOOK], cwd=ROOT, text=True)
    seconds, loaded, names = json.loads(output)
    ours = {name for name in loaded if name.split(".")[0] in ("detector", "recognizer", "pipeline")}
    assert ours == set()
    assert {"numpy", "PIL", "torch", "cv2"}.isdisjoint(loaded)
    assert seconds < 0.5  # of the processor; it takes a hundredth of it
    assert set(faces.__all__) <= set(names)


def test_every_name_is_there_and_stays():
    for name in faces.__all__:
        assert getattr(faces, name) is getattr(faces, name)
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        _ = faces.nobody
    assert set(faces._HOMES) | {"__version__"} == set(faces.__all__)


def test_what_is_documented_for_editors_is_what_is_given():
    """The imports for type checkers and the table say the same."""
    source = (ROOT / "faces" / "__init__.py").read_text(encoding="utf-8")
    for name, home in faces._HOMES.items():
        [line] = [line for line in source.splitlines() if line.startswith(f"    from {home} ")
                  and name in line.replace(",", "").split()]  # fmt: skip
        assert line


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a name of the door and, for a class, of its own methods."""
    thing = getattr(faces, name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(thing, name, globs={}) if test.examples]


NAMES = [name for name in faces.__all__ if name != "__version__"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in NAMES],
)
def test_examples_run(name, tmp_path, monkeypatch):
    found = examples(name)
    assert found, f"faces.{name} has no example"
    for i, test in enumerate(found):
        folder = tmp_path / str(i)
        folder.mkdir()
        monkeypatch.chdir(folder)
        output: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test, out=output.append)
        assert runner.failures == 0, "".join(output)

"""What documents and help texts tell a user to type is understood; their links lead somewhere."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from faces.errors import UserError
from scripts.main import COMMANDS, EXAMPLES
from tests.commands import parse_only

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def commands(text: str) -> Iterator[str]:
    """Every ``faces ...`` line of a text, continued lines joined, without comment or pipe."""
    joined = re.sub(r" *\\\n\s*", " ", text)
    for line in joined.splitlines():
        found = re.match(r"\s*(?:\$ )?(faces [a-z].*)", line)
        if found:
            yield re.split(r"\s+(?:#|\||>|&&)(?:\s|$)", found[1])[0].strip()


def documented() -> Iterator[tuple[str, str]]:
    for path in DOCUMENTS:
        for block in re.findall(
            r"^```.*?\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S
        ):
            yield from ((path.name, line) for line in commands(block))
    yield from (("faces --help", line) for line in commands(EXAMPLES))
    for name in COMMANDS:
        module = importlib.import_module(f"scripts.{name.replace('-', '_')}")
        yield from ((f"faces {name} --help", line) for line in commands(module.EXAMPLES))


@pytest.mark.parametrize(("where", "line"), list(documented()))
def test_what_is_written_down_can_be_typed(where, line):
    words = shlex.split(line)
    if words[1:] == ["--help"] or "..." in line:
        return
    assert words[1] in COMMANDS, f"{where}: there is no command {words[1]!r}"
    if words[2:] == ["--help"]:
        return
    try:
        parse_only(words[1], words[2:])
    except UserError as error:
        # The run or the file of an example is not there; its other flags were not read then.
        named = [words[words.index(flag) + 1] for flag in ("--resume", "--config") if flag in words]
        if not any(name in str(error) for name in named):
            pytest.fail(f"{where}: {line}: {error}")
    except SystemExit as stop:
        pytest.fail(f"{where}: {line}: the parser exits with {stop.code}")


def test_commands_are_found_in_a_text():
    text = (
        "a\n  $ faces train --run x \\\n     -b 3   # quick\nfaces detect - | jq .\nmy faces are\n"
    )
    assert list(commands(text)) == ["faces train --run x -b 3", "faces detect -"]


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ +(.*)$", path.read_text(encoding="utf-8"), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(
        r'<img[^>]*src="([^"]+)"', text
    ):
        if re.match(r"[a-z]+:", target):
            continue  # the network is not asked
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{path.name}: {target}"
        assert found.is_relative_to(ROOT), f"{path.name}: {target} leaves the project"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{path.name}: {target}"


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_what_is_written_for_python_runs(name, tmp_path, monkeypatch):
    """All but training, which the examples of the docstrings show with small settings."""
    monkeypatch.chdir(tmp_path)
    photo = Image.fromarray(astronaut())
    photo.save("grace.jpg")
    photo.save("other.jpg")
    Image.fromarray(np.concatenate([astronaut()] * 2, axis=1)).save("group.jpg")
    writer = cv2.VideoWriter("party.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 5, photo.size)
    for _ in range(3):
        writer.write(cv2.cvtColor(np.asarray(photo), cv2.COLOR_RGB2BGR))
    writer.release()
    blocks = python_blocks(ROOT / name)
    assert blocks
    for block in blocks:
        code = compile(block, name, "exec")
        if "__main__" not in block:
            exec(code, {})

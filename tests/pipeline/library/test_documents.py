"""What docs/library.md says of the files is so, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.library.schema import COLUMNS
from tests.pipeline.library.looking import index
from tests.pipeline.people_photos import person, save

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "library.md").read_text(encoding="utf-8")


def test_every_column_is_described():
    table = TEXT[TEXT.index("| column | type") :].partition("\n\n")[0]
    told = [
        name
        for line in table.splitlines()[2:]
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert told == list(COLUMNS)


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photos" / "a.png", person(1), person(2))
    save(tmp_path / "photos" / "b.png", person(1, variant=1))
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    index(Path("lib"), "photos")
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT[TEXT.index("Any data tool") :], re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block.replace("[128]", "[48]"), "docs/library.md", "exec"), {})
    out = capsys.readouterr().out
    assert "bad.jpg" in out
    assert "1.0" in out
    assert "3 (3, 48)" in out

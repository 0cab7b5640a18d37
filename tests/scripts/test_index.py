"""`faces index` as it is typed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from skimage.data import astronaut
from skimage.io import imsave

from pipeline.library.parts import read_faces
from scripts.main import main
from tests.commands import parse_only
from tests.pipeline.library.looking import Here, QuickLooker
from tests.pipeline.people_photos import person, save

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_folder_is_looked_at_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    imsave(tmp_path / "photos" / "eileen.png", astronaut())
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    command = ["index", "photos", "--library", "lib", "--jobs", "2"]
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert "looked at: 2 files, 1 face\n" in out
    assert re.search(r"bad\.jpg: cannot read the image", err)
    [face] = read_faces(Path("lib")).embedding
    import faces

    [expected] = faces.FaceAnalyzer()("photos/eileen.png")
    assert float(face @ expected.embedding) > 0.999
    assert read_faces(Path("lib")).points.shape == (1, 5, 2)
    assert main(command) == 0
    assert "unchanged: 2 files" in capsys.readouterr().out
    assert main([*command, "--min-face", "30"]) == 2
    assert "was made with --min-face 20" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal for one process")
@pytest.mark.slow
def test_ctrl_c_ends_it_at_once_and_leaves_no_worker(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(64):
        imsave(tmp_path / "photos" / f"{i}.bmp", astronaut()[i:], check_contrast=False)
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.main", "index", "photos", "-l", "lib", "-j", "1"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "FORCE_COLOR": "0"},
        stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        import psutil

        children: list[psutil.Process] = []
        while not children:
            children = [
                c for c in psutil.Process(process.pid).children() if "spawn" in str(c.cmdline())
            ]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().strip().endswith("faces: stopped.")
    assert "Traceback" not in err.decode()
    assert not psutil.wait_procs(children, timeout=60)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos"], "--library"),
        (["--library", "lib"], "--list"),
        (["photos", "--library", "lib", "--shard", "0/3"], "I/N"),
        (["photos", "--library", "lib", "--shard", "4/3"], "I/N"),
        (["photos", "--library", "lib", "--jobs", "0"], "--jobs"),
        (["photos", "--library", "lib", "--address", "auto"], "--executor ray"),
        (["photos", "--library", "lib", "--threshold", "2"], "--threshold"),
    ],
)
def test_flags_that_cannot_work_are_named(arguments, message, capsys):
    assert main(["index", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_part_of_a_job():
    assert parse_only("index", ["a", "-l", "lib", "--shard", "3/8"]).part == (3, 8)
    assert parse_only("index", ["a", "-l", "lib"]).part is None


def test_two_at_once_are_refused(tmp_path, monkeypatch, capsys):
    from pipeline.service.runtime.file_locks import hold

    monkeypatch.chdir(tmp_path)
    imsave("a.png", astronaut())
    (tmp_path / "lib").mkdir()
    for name, more in ((".lock", ["--shard", "1/2"]), (".lock", []), (".lock-1-of-2", [])):
        lock = hold(tmp_path / "lib" / name)
        assert lock is not None
        with lock:
            assert main(["index", "a.png", "--library", "lib", *more]) == 2
        assert "another `faces index` is at work" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_is_named_and_loses_nothing(
    tmp_path, monkeypatch, capsys, close_folder
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.library.look.Looker", QuickLooker)
    monkeypatch.setattr("scripts.index.choose_executor", lambda *_: (Here(), 1))
    save(Path("photos/a.png"))
    save(Path("photos/closed/b.png"), person(1))
    assert main(["index", "photos", "--library", "lib"]) == 0
    close_folder(Path("photos/closed"))
    assert main(["index", "photos", "--library", "lib"]) == 1
    assert "closed: the folder cannot be read: Permission denied" in capsys.readouterr().err
    assert len(read_faces(Path("lib"))) == 1


@pytest.mark.slow
def test_what_is_not_there_is_named(tmp_path, capsys):
    assert main(["index", str(tmp_path / "nowhere"), "--library", str(tmp_path / "lib")]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err
    assert main(["index", str(tmp_path), "--library", str(tmp_path / "lib")]) == 2
    assert "there is no photo and no film" in capsys.readouterr().err
    assert not (tmp_path / "lib").exists(), "no folder is left of a library without anything"

"""`faces audit`, and the log behind it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from faces.errors import UserError
from pipeline.service.audit import AuditLog, entries, verify
from scripts.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of five lines."""
    log = AuditLog(tmp_path / "people.db.audit.jsonl")
    for i, name in enumerate(["Ada", "Bob", "Ada", "Cleo", "Bob"]):
        log.append("enroll", name, photos=i + 1, by="key:1234")
    log.close()
    return tmp_path / "people.db.audit.jsonl"


def check(path: Path, *arguments: str) -> int:
    return main(["audit", "verify", str(path), *arguments])


def test_a_whole_log_is_in_order(path, capsys):
    assert check(path) == 0
    out = capsys.readouterr().out
    assert out.startswith("5 entries, all in order")
    code = out.split()[-1]
    assert check(path, "--expect", code) == 0
    assert check(path, "--expect", code[:16].upper() + "...") == 0


def test_a_log_goes_on_after_a_restart(path):
    log = AuditLog(path)
    log.append("forget", "Ada")
    log.close()
    verdict = verify(path)
    assert (verdict.lines, verdict.problem) == (6, None)
    assert [entry["n"] for entry in entries(path)] == [1, 2, 3, 4, 5, 6]


def test_no_name_is_in_the_log_but_who_has_the_key_can_look(path, capsys):
    text = path.read_text(encoding="utf-8")
    assert not any(name in text for name in ("Ada", "Bob", "Cleo"))
    assert main(["audit", "show", str(path), "--person", "Ada"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["photos"] for entry in shown] == [1, 3]
    if os.name != "nt":
        for file in (path, path.with_name(path.name + ".key")):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_person_is_found_by_any_spelling_of_the_name(path, capsys):
    log = AuditLog(path)
    log.append("enroll", "Zoë Lind")  # as it is stored: composed, single spaces
    log.close()
    for spelling in ("Zoë Lind", " Zoë  Lind ", "Zoe\N{COMBINING DIAERESIS} Lind"):
        assert main(["audit", "show", str(path), "--person", spelling]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
    # What a shell hands over that is not UTF-8.
    assert main(["audit", "show", str(path), "--person", "Zo\udceb"]) == 2
    assert "cannot be seen" in capsys.readouterr().err


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def changed(old: list[str]) -> list[str]:
    return [*old[:2], old[2].replace('"photos": 3', '"photos": 9'), *old[3:]]


def renumbered(old: list[str]) -> list[str]:
    return [
        json.dumps({**json.loads(line), "n": i + 1}) for i, line in enumerate([*old[:2], *old[3:]])
    ]


@pytest.mark.parametrize(
    ("tamper", "line"),
    [
        (changed, 3),
        (lambda old: [*old[:2], *old[3:]], 3),
        (renumbered, 3),
        (lambda old: [*old[:3], *old[2:]], 4),
        (lambda old: [old[1], old[0], *old[2:]], 1),
        (lambda old: old[1:], 1),
        (lambda old: [*old[:4], "{}", old[4]], 5),
        (lambda old: [*old[:4], "nonsense", old[4]], 5),
        (lambda old: [*old, "x" * 20_000], 6),
    ],
)
def test_tampering_is_seen(path, capsys, tamper, line):
    path.write_text("\n".join(tamper(lines(path))) + "\n", encoding="utf-8")
    assert check(path) == 1
    assert f"line {line} " in capsys.readouterr().err
    with pytest.raises(UserError, match=f"line {line} "):
        AuditLog(path)


def test_a_line_written_without_the_key_is_seen(path, tmp_path, capsys):
    """An attacker who can write the file but not read the key cannot go on with the chain."""
    forged = AuditLog(tmp_path / "forged.jsonl")
    for i in range(6):
        forged.append("enroll", "Mallory", photos=i)
    forged.close()
    with path.open("a", encoding="utf-8") as file:
        file.write(lines(tmp_path / "forged.jsonl")[5] + "\n")
    assert check(path) == 1
    assert "line 6 was changed" in capsys.readouterr().err


def test_a_cut_off_end_is_seen_only_by_who_noted_it(path, capsys):
    assert check(path) == 0
    noted = capsys.readouterr().out.split()[-1]
    path.write_text("\n".join(lines(path)[:3]) + "\n", encoding="utf-8")
    assert check(path) == 0
    assert check(path, "--expect", noted) == 1
    assert "the end was cut off" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["", "...", "e", "5f0c7d9a...", "x" * 64])
def test_what_is_the_beginning_of_any_code_is_no_code(path, capsys, code):
    assert check(path, "--expect", code) == 2
    assert "--expect takes a code" in capsys.readouterr().err


def test_the_code_of_an_empty_log_may_be_expected(tmp_path, capsys):
    log = AuditLog(tmp_path / "a.jsonl")
    assert check(log.path) == 0
    code = capsys.readouterr().out.split()[-1]
    log.append("enroll", "Ada")
    log.close()
    assert check(log.path, "--expect", code) == 0


def test_what_a_power_cut_leaves_is_cut_off_and_told(path, capsys):
    with path.open("ab") as file:
        file.write(b'{"n": 6, "acti')
    assert check(path) == 0
    out = capsys.readouterr().out
    assert "unfinished" in out
    code = out.partition("the last one is ")[2].split()[0]
    assert check(path, "--expect", code) == 0
    assert check(path, "--expect", "f" * 64) == 1
    capsys.readouterr()
    assert main(["audit", "show", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    AuditLog(path).close()
    assert verify(path).problem is None
    assert list(entries(path))[-1]["action"] == "cut"


def test_two_servers_cannot_write_to_one_log(path):
    log = AuditLog(path)
    code = "import sys, pathlib, pipeline.service.audit as a; a.AuditLog(pathlib.Path(sys.argv[1]))"
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "another server writes to the audit log" in result.stderr
    with suppress(OSError):  # a system that makes no links
        (path.parent / "link.jsonl").symlink_to(path)
        with pytest.raises(UserError, match="another server writes"):
            AuditLog(path.parent / "link.jsonl")
    log.close()
    AuditLog(path).close()


def test_a_path_where_nothing_can_be_made_is_refused(tmp_path):
    (tmp_path / "plain").write_text("a file, no folder", encoding="utf-8")
    for place in ("a.jsonl", "x/a.jsonl"):
        with pytest.raises(UserError, match=r"audit log .* cannot be opened: .*another path"):
            AuditLog(tmp_path / "plain" / place)


def test_missing_files_are_named(path, tmp_path, capsys):
    assert check(tmp_path / "none.jsonl") == 2
    assert "no audit log" in capsys.readouterr().err
    path.with_name(path.name + ".key").unlink()
    assert check(path) == 2
    assert "key" in capsys.readouterr().err
    with pytest.raises(UserError, match="lost its key"):
        AuditLog(path)

"""The `faces` command itself: its list, its mistakes, its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.main import COMMANDS, main, run_command


def run(*arguments: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, as a user's shell would."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": encoding},
    )


HELPS = r"""
import contextlib, io, json, re, sys
from scripts.main import COMMANDS, main

def help_of(*command):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main([*command, "--help"])
        except SystemExit as stop:
            code = stop.code
    assert not code, (command, code)
    assert "torch" not in sys.modules, f"the help of {command} imports torch"
    texts[" ".join(command)] = out.getvalue()

texts = {}
for name in COMMANDS:
    help_of(name)
    usage = rf"usage: faces {name} .*\{{([\w,-]+)\}}\]?$"
    found = re.search(usage, texts[name], re.MULTILINE)
    for sub_command in found[1].split(",") if found else ():
        help_of(name, sub_command)
print(json.dumps(texts))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """The help of each command and sub-command, all made in one process without torch."""
    result = run("-c", HELPS)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def examples(text: str) -> list[str]:
    """The command lines that end a help text; continued lines are joined."""
    assert "examples:" in text, text
    block = text.rsplit("examples:", 1)[1].replace("\\\n", " ")
    return [line.strip() for line in block.strip().splitlines()]


def test_help_is_quick_and_does_not_import_torch():
    def seconds() -> float:
        times = os.times()  # of the processor: the clock depends on what else the machine does
        return times.children_user + times.children_system

    start = seconds()
    result = run("-X", "importtime", "-m", "scripts.main", "--help")
    assert seconds() - start < 0.5
    assert result.returncode == 0
    imported = {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines()}
    assert "importlib" in imported
    assert imported.isdisjoint({"torch", "torchvision", "numpy", "matplotlib", "cv2", "tyro"})


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_command_in_one_line(arguments, capsys):
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, description in COMMANDS.items():
        [line] = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(f" {description}")
        assert len(line) <= 100
        assert not description.endswith(".")


def test_the_overview_gives_examples_of_existing_commands(capsys):
    main([])
    lines = examples(capsys.readouterr().out)
    assert lines
    for line in lines:
        program, command = line.split()[:2]
        assert program == "faces"
        assert command in COMMANDS or command == "COMMAND"


def test_the_help_of_every_command_ends_with_examples(helps):
    assert {command.split()[0] for command in helps} == set(COMMANDS)
    assert {"people rename", "prepare wider"} < set(helps)
    for command, text in helps.items():
        name = command.split()[0]
        lines = examples(text)
        assert lines
        assert all(re.match(rf"faces {name}|torchrun .* -m scripts\.{name}", x) for x in lines)
        assert any(line.startswith(f"faces {command}") for line in lines), command


def test_help_is_for_people_and_not_made_of_the_source(helps):
    for command, text in helps.items():
        flowing = re.sub(r"[\s│]+", " ", text)
        for oddity in (
            "default: None",
            "default: )",
            "noqa",
            "See `",
            "default: required",
            "no-no-",
        ):
            assert oddity not in flowing, f"{command}: {oddity}"
        assert not re.search(r"^\S.*[a-z]\n\S", text.partition("╭")[0], re.M), command


def test_every_command_has_its_file_and_every_file_its_command():
    folder = Path(__file__).parents[2] / "scripts"
    others = {"__init__", "main", "ship", "ship_embedder"}
    files = {path.stem for path in folder.glob("*.py")} - others
    assert {name.replace("-", "_") for name in COMMANDS} == files


def test_an_unknown_command_is_refused_with_the_nearest_name(capsys):
    assert main(["trian", "--epochs", "3"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "no command 'trian'" in output.err
    assert "Did you mean `faces train`?" in output.err


def test_a_wild_guess_gets_no_suggestion(capsys):
    assert main(["xyzzy"]) == 2
    output = capsys.readouterr().err
    assert "Did you mean" not in output
    assert "faces --help" in output


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"faces \d+\.\d+\.\d+\n", capsys.readouterr().out)


FAKE = '''\
"""A command that ends in the way its first argument says."""
import os, sys, time
from pathlib import Path
from faces.errors import UserError
from faces.files import atomic_write

def main(argv):
    if argv[0] == "fine":
        print("a result")
        return None
    if argv[0] == "some-failed":
        return 1
    if argv[0] == "bad-input":
        raise UserError("photo.jpg: not a picture; remove it")
    if argv[0] == "bug":
        raise ZeroDivisionError("a bug")
    if argv[0] == "pipe-bug":
        raise BrokenPipeError("a worker died")
    if argv[0] == "closed-file":
        print("a result")
        raise PermissionError(13, "Permission denied", "photo.jpg")
    if argv[0] == "odd-name":
        print("caf\\u00e9-\\udce9.jpg")
        return 0
    if argv[0] == "here":
        os.path.realpath("results")
    if argv[0] == "streams":
        print("a result", os.dup(0), os.dup(1), os.dup(2))
    if argv[0] == "much":
        for i in range(100_000):
            print("line", i)
        return 0
    if argv[0] == "wait":
        with atomic_write(Path(argv[1])) as file:
            file.write(b"half")
            print("waiting", flush=True)
            time.sleep(60)
    return 0
'''


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A sub-command of our own, importable here and in processes that we start."""
    (tmp_path / "fake_command.py").write_text(FAKE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    yield tmp_path
    sys.modules.pop("fake_command", None)


# What the console script does, with the fake among the commands.
START = (
    "import sys, fake_command, scripts.main as m; "
    "sys.modules['scripts.fake'] = fake_command; m.COMMANDS['fake'] = 'for the tests'; "
    "sys.exit(m.main(['fake', *sys.argv[1:]]))"
)


@pytest.mark.parametrize(
    ("end", "code"), [("fine", 0), ("some-failed", 1), ("bad-input", 2)], ids=str
)
def test_the_exit_code_of_a_command(fake, end, code):
    assert run_command("fake_command", [end]) == code


def test_bad_input_is_one_line_without_a_traceback(fake, capsys):
    assert run_command("fake_command", ["bad-input"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "faces: photo.jpg: not a picture; remove it\n"


@pytest.mark.parametrize("bug", ["bug", "pipe-bug"])
def test_a_bug_keeps_its_traceback(fake, bug):
    result = run("-c", START, bug)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "fake_command.py" in result.stderr


def test_a_file_that_cannot_be_read_changes_nothing_of_the_results(fake):
    result = run("-c", START, "closed-file")
    assert (result.returncode, result.stdout) == (1, "a result\n")
    assert "photo.jpg" in result.stderr


def test_a_file_name_the_terminal_cannot_show_does_not_end_the_run(fake):
    result = run("-c", START, "odd-name", encoding="ascii")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "caf\\xe9-\\udce9.jpg\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipe")
@pytest.mark.parametrize("flags", [[], ["-u"]], ids=["buffered", "unbuffered"])
def test_a_reader_that_leaves_early_is_no_error(fake, flags):
    command = [sys.executable, *flags, "-c", START, "much"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"line 0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    "command", [["-c", START, "fine"], ["-c", START, "much"], ["-m", "scripts.keys", "--help"]]
)
def test_a_full_disk_is_said_in_a_sentence(fake, command):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, *command], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    told = "faces: the results cannot be written: No space left on device\n"
    assert (result.returncode, result.stderr) == (1, told)


@pytest.mark.skipif(os.name == "nt", reason="Windows has another shell")
@pytest.mark.parametrize("closed", [">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_replaced_by_empty_ones(fake, closed):
    command = f'"$0" -c "$1" streams {closed}'
    result = subprocess.run(
        ["sh", "-c", command, sys.executable, START], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("a result") is (">&-" not in closed.split())


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no folder that somebody is in")
def test_a_current_folder_that_was_deleted_is_said_in_a_sentence(fake, monkeypatch, capsys):
    (fake / "gone").mkdir()
    monkeypatch.chdir(fake / "gone")
    (fake / "gone").rmdir()
    assert run_command("fake_command", ["here"]) == 2
    assert capsys.readouterr().err == (
        "faces: the current folder was deleted: go into another one\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c_leaves_no_traceback_and_no_half_written_file(fake):
    result = fake / "result.bin"
    with subprocess.Popen(
        [sys.executable, "-c", START, "wait", str(result)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err == "faces: stopped.\n"
    assert [x.name for x in fake.iterdir() if x.is_file() and x.suffix != ".py"] == []

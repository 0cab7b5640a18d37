"""`make` on a new user's machine: what it says, which Python it takes, what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def make(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env={**clean, **env},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def test_make_alone_lists_every_target():
    result = make()
    assert result.returncode == 0
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    [phony] = re.findall(r"^\.PHONY: (.*)", text, re.MULTILINE)
    listed = re.findall(r"^  ([\w-]+) +\w", result.stdout, re.MULTILINE)
    assert listed == phony.split()
    assert {"env", "test", "quick", "demo", "lint", "format", "clean"} < set(listed)


def test_make_test_checks_style_types_and_runs_the_whole_suite_last():
    """Dry run: what `make test` would type, in order."""
    lines = make("--dry-run", "--assume-old=.venv/.installed", "test").stdout.splitlines()
    tools = [Path(line.split()[0]).name + "".join(line.split()[1:2]) for line in lines]
    assert tools[-4:] == ["ruffcheck", "ruffformat", "mypy", "pytest-n"]
    assert lines[-1].split()[1:] == ["-n", "auto", "--dist", "loadfile"]


def test_make_uses_the_environment_it_has_until_the_requirements_change(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    marker = tmp_path / ".venv" / ".installed"
    marker.parent.mkdir()
    marker.touch()
    assert make("--question", "env", cwd=tmp_path).returncode == 0
    for name in ("pyproject.toml", "constraints.txt"):
        marker.touch()
        later = marker.stat().st_mtime + 10
        os.utime(tmp_path / name, (later, later))
        assert make("--question", "env", cwd=tmp_path).returncode == 1
        os.utime(tmp_path / name, (0, 0))


FAKE_PYTHON = """#!/bin/sh
# Answers the Makefile's questions as a Python of that version would; `-m venv` makes an
# environment whose Python writes down what it is asked to install.
case "$*" in
  *version_info*'<'*) test {major} -gt 3 -o {minor} -ge 11 ;;
  *ensurepip*) {ensurepip} ;;
  *'print('*) echo {major}.{minor} ;;
  --version) echo Python {major}.{minor}.0 ;;
  *'-m venv'*)
    mkdir -p .venv/bin
    echo '#!/bin/sh' > .venv/bin/python
    echo 'echo "$@" >> pip.log' >> .venv/bin/python
    chmod +x .venv/bin/python ;;
esac
"""


class Checkout:
    """A checkout whose PATH holds fake Pythons and a few of the shell's tools, nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder / name)
        for tool in ("make", "sh", "touch", "mkdir", "chmod"):
            path = shutil.which(tool)
            if path is None:
                pytest.skip(f"no {tool} here")
            (self.bin / tool).symlink_to(path)

    def add_python(self, name: str, version: tuple[int, int], ensurepip: bool = True) -> None:
        major, minor = version
        answer = "true" if ensurepip else "false"
        path = self.bin / name
        path.write_text(
            FAKE_PYTHON.format(major=major, minor=minor, ensurepip=answer), encoding="utf-8"
        )
        path.chmod(0o755)

    def make_env(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return make("env", *arguments, cwd=self.folder, PATH=str(self.bin))

    @property
    def environment(self) -> Path:
        return self.folder / ".venv"


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


posix = pytest.mark.skipif(os.name == "nt", reason="the fakes are shell scripts")


@posix
@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"python3.11": (3, 11), "python3": (3, 13)}, (3, 11)),
        ({"python3": (3, 12)}, (3, 12)),
        ({"python3": (3, 9), "python3.12": (3, 12)}, (3, 12)),
        ({"python3": (3, 9), "python": (3, 14)}, (3, 14)),
    ],
    ids=str,
)
def test_make_env_finds_a_python_that_will_do(checkout, installed, chosen):
    for name, version in installed.items():
        checkout.add_python(name, version)
    result = checkout.make_env()
    assert result.returncode == 0, result.stderr
    assert f"making .venv with Python {chosen[0]}.{chosen[1]}.0" in result.stdout
    log = (checkout.folder / "pip.log").read_text(encoding="utf-8")
    assert log.endswith("-m pip install --disable-pip-version-check -c constraints.txt -e .[dev]\n")
    assert (checkout.environment / ".installed").exists()


@posix
@pytest.mark.parametrize(
    ("installed", "arguments", "message"),
    [
        ({}, [], "no Python 3.11 or newer was found"),
        ({"python3": (3, 10)}, [], "make PYTHON=/path/to/python3.11 env"),
        ({"python3": (3, 12), "old": (3, 9)}, ["PYTHON=old"], "PYTHON=old is missing or older"),
        ({"python3": (3, 12)}, ["PYTHON=nowhere"], "PYTHON=nowhere is missing or older"),
    ],
    ids=str,
)
def test_make_env_says_which_python_is_wanted(checkout, installed, arguments, message):
    for name, version in installed.items():
        checkout.add_python(name, version)
    result = checkout.make_env(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert not checkout.environment.exists()


@posix
def test_make_env_says_what_to_install_where_venv_is_missing(checkout):
    checkout.add_python("python3", (3, 12), ensurepip=False)
    result = checkout.make_env()
    assert result.returncode == 2
    assert "apt install python3.12-venv" in result.stderr
    assert not checkout.environment.exists()


@posix
def test_make_env_takes_the_python_it_is_given(checkout):
    checkout.add_python("python3.11", (3, 11))
    checkout.add_python("mine", (3, 13))
    assert "Python 3.13.0" in checkout.make_env("PYTHON=mine").stdout

"""The files around the code agree with each other and do what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from faces.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRA = PROJECT["optional-dependencies"]
ALL = [
    line
    for lines in (PROJECT["dependencies"], *EXTRA.values())
    for line in lines
    if not line.startswith("faces[")
]


def load_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def pins() -> dict[str, str]:
    """The versions of constraints.txt by canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in found), "every line must be name==version"
    return {canonicalize_name(name): version for name, version in found}


# -- requirements


def test_environment_yml_installs_what_make_env_does():
    environment = load_yaml("environment.yml")
    *conda, pip = environment["dependencies"]
    assert environment["name"] == "faces"
    assert conda == ["python=3.11", "pip"]
    assert pip["pip"][:2] == ["-c constraints.txt", "-e .[dev]"]
    named = {Requirement(line).name for line in ALL}
    assert set(pip["pip"][2:]) <= named, "named there, but not in pyproject.toml"
    assert SpecifierSet(PROJECT["requires-python"]).contains("3.11")
    assert "-c constraints.txt -e '.[dev]'" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_requirement_has_a_tested_version_that_it_allows():
    tested = pins()
    for line in ALL:
        requirement = Requirement(line)
        version = tested.get(canonicalize_name(requirement.name))
        assert version is not None, f"constraints.txt has no version of {requirement.name}"
        assert requirement.specifier.contains(version), f"{line} does not allow {version}"


def test_the_tested_versions_belong_to_no_platform():
    assert not [name for name in pins() if name.startswith(("nvidia", "cuda", "triton"))]
    assert not [version for version in pins().values() if "+" in version]


def test_all_and_dev_hold_every_extra():
    [everything] = EXTRA["all"]
    assert Requirement(everything).extras == set(EXTRA) - {"all", "dev"}
    assert EXTRA["dev"][0] == "faces[all]"


def test_the_advice_for_a_missing_library_follows_the_extras():
    """The table of `faces.extras` names the modules of what each extra requires."""
    distributions = packages_distributions()
    for extra, modules in EXTRAS.items():
        required = {canonicalize_name(Requirement(line).name) for line in EXTRA[extra]}
        for module in modules:
            brought = {canonicalize_name(name) for name in distributions[module]}
            assert brought & (required | {"starlette", "opentelemetry-api"}), (extra, module)
    assert set(EXTRAS) == set(EXTRA) - {"all", "dev"}


# -- packages


def test_every_package_is_installed_with_its_sub_packages():
    """What setuptools will discover is every folder with Python files of the four packages."""
    find = PYPROJECT["tool"]["setuptools"]["packages"]["find"]
    assert find["namespaces"] is False
    tops = [name for name in ("detector", "recognizer", "pipeline", "scripts") if _is_package(name)]
    assert "detector" in tops
    for top in tops:
        assert any(fnmatch(top, pattern) for pattern in find["include"])
        for path in (ROOT / top).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py"
            package = ".".join(path.parent.relative_to(ROOT).parts)
            assert any(fnmatch(package, pattern) for pattern in find["include"])


def _is_package(name: str) -> bool:
    return (ROOT / name / "__init__.py").exists()


def test_only_our_packages_are_discovered():
    include = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    for other in ("tests", "benchmarks", "docs", "runs", "data"):
        assert not any(fnmatch(other, pattern) for pattern in include)


def test_the_console_command_exists():
    import scripts.main

    module, function = PROJECT["scripts"]["faces"].split(":")
    assert getattr(sys.modules[module], function) is scripts.main.main


# -- pre-commit and CI


def hooks() -> list[dict[str, Any]]:
    return [
        hook for repo in load_yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]


def test_pre_commit_is_valid_and_needs_no_network():
    result = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert {repo["repo"] for repo in load_yaml(".pre-commit-config.yaml")["repos"]} == {"local"}
    assert {hook["id"] for hook in hooks()} == {"ruff", "ruff-format", "mypy"}
    assert {hook["language"] for hook in hooks()} == {"system"}


@pytest.mark.skipif(shutil.which("sh") is None, reason="git brings sh, this machine has none")
@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_each_hook_starts_the_tool_it_names(hook, tmp_path):
    """Fakes that print their arguments stand in for the tools in the environment's folder."""
    tool = shlex.split(hook["entry"])
    called = re.search(r"exec (\w+)", tool[2])
    assert called is not None
    fake = tmp_path / ".venv" / "bin" / called[1]
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/sh\necho "$0 $*"\n', encoding="utf-8")
    fake.chmod(0o755)
    files = [] if hook.get("pass_filenames") is False else ["a file.py"]
    output = subprocess.check_output([*tool, *files], cwd=tmp_path, text=True)
    assert output.startswith(f".venv/bin/{called[1]}")
    assert output.rstrip().endswith("a file.py" if files else called[1])


def test_ci_ends_with_make_test():
    script = ROOT / ".ci" / "run"
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[-1] == "make test"
    if os.name != "nt":
        assert os.access(script, os.X_OK)


# -- what is kept out of the repository


def test_what_is_made_here_is_ignored_by_git():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    made = [".venv/x", "runs/demo/last.pt", "detector/__pycache__/x.pyc", "faces.egg-info/x"]
    output = subprocess.run(
        ["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    assert output.split() == made


def test_the_changelog_has_a_section_for_this_version_or_the_next():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert sections
    assert sections[0] in ("Unreleased", PROJECT["version"])

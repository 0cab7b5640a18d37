"""The files around the code agree with each other and do what they say."""

from __future__ import annotations

import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

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

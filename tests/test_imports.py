"""Who may import whom, and that every module can be imported without doing anything."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Container, Iterator
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parents[1]

# scripts -> pipeline -> {detector, recognizer} -> faces; see docs/architecture.md.
MAY_IMPORT = {
    "faces": {"faces"},
    "detector": {"detector", "faces"},
    "recognizer": {"recognizer", "faces"},
    "pipeline": {"pipeline", "detector", "recognizer", "faces"},
    "scripts": {"scripts", "pipeline", "detector", "recognizer", "faces"},
    "benchmarks": {"benchmarks", "scripts", "pipeline", "detector", "recognizer", "faces"},
}
OURS = {*MAY_IMPORT, "tests"}
DOOR = "faces"
"""The package itself, `faces/__init__.py`: it alone looks up, lazily, name by name."""

# These start programs that must answer at once.
LIGHT = ["detector.types", "faces", "faces.errors", "faces.files", "scripts.main"]
HEAVY = {"torch", "torchvision", "matplotlib", "scipy", "skimage", "cv2", "onnxruntime"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of every top-level package that exists: (dotted name, file)."""
    for top in MAY_IMPORT:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@functools.cache
def nodes(source: str) -> list[ast.AST]:
    """What may import, or decides whether it does; looking through everything takes a second."""
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Call) and "import" in called(node))
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]


def called(node: ast.Call) -> str:
    """The name of what is called, "" where it has none."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def imports(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Every import of a module's source, inside functions too: (line, absolute name)."""
    package = module.rsplit(".", 1)[0]
    for node in nodes(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, ".".join([package, node.module or ""])
            else:
                yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            for first in node.args[:1]:  # a fixed name
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield node.lineno, first.value


def forbidden(source: str, module: str) -> list[str]:
    if module == DOOR:
        return []
    allowed = MAY_IMPORT[module.split(".")[0]]
    return [
        f"line {line}: {module} may not import {name}"
        for line, name in imports(source, module)
        if name.split(".")[0] in OURS - allowed
    ]


MODULES = dict(modules())


SOURCES = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}


def test_imports_follow_the_direction():
    assert [line for module, source in SOURCES.items() for line in forbidden(source, module)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("detector.a", "import scripts.options.command_line"),
        ("faces.a", "from detector.types import Detections"),
        ("detector.a", "from recognizer.types import Match"),
        ("detector.a", "def f():\n    from recognizer import types"),
        ("recognizer.a", "import numpy, detector"),
        ("pipeline.a", "from scripts import main"),
        ("scripts.a", "import tests.conftest"),
        ("scripts.a", "import benchmarks.train"),
        ("detector.a", "if TYPE_CHECKING:\n    import pipeline.types"),
        ("detector.a", "importlib.import_module('scripts.main')"),
    ],
)
def test_a_wrong_direction_is_seen(module, source):
    assert len(forbidden(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("detector.a", "from detector.types import Detections\nfrom .b import c\nfrom . import d"),
        ("pipeline.a", "import detector.types, recognizer.types, pipeline.b"),
        ("scripts.a", "from pipeline import live"),
        ("detector.a", "import numpy as np\nfrom torch import nn"),
    ],
)
def test_a_right_direction_is_let_through(module, source):
    assert forbidden(source, module) == []


def needs(source: str, module: str, known: Container[str]) -> set[str]:
    """Modules of ours that a module imports, inside functions too; for type checking aside."""
    for_types = {
        id(inner)
        for node in nodes(source)
        if isinstance(node, ast.If)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: set[str] = set()
    for node in nodes(source):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            if any(f"{node.module}.{alias.name}" not in known for alias in node.names):
                found.add(node.module)
    return {name for name in found if name in known} - {module, DOOR}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan, SIAM J. Comput. 1972, by `networkx`)."""
    found = networkx.strongly_connected_components(networkx.DiGraph(graph))
    return sorted(sorted(group) for group in found if len(group) > 1)


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: needs(source, name, SOURCES) for name, source in SOURCES.items() if name != DOOR}
    assert circles(graph) == []


def test_a_circle_is_seen_also_inside_a_function():
    known = {"a.x": None, "a.y": None, "a.z": None}
    graph = {
        "a.x": needs("from a.y import f\nimport a.z", "a.x", known),
        "a.y": needs("def f():\n    from a import x", "a.y", known),
        "a.z": needs("if TYPE_CHECKING:\n    from a.x import F", "a.z", known),
    }
    assert circles(graph) == [["a.x", "a.y"]]


def test_onnx_runtime_is_imported_in_one_place():
    """`faces.networks.onnx_session` keeps it from reporting to its makers, if it comes first."""
    importers = {
        module
        for module, source in SOURCES.items()
        if any(name.split(".")[0] == "onnxruntime" for _, name in imports(source, module))
    }
    assert importers == {"faces.networks.onnx_session"}


def test_benchmarks_can_be_imported():
    """The other packages are, all in one process, by the test of what importing them does."""
    for module in MODULES:
        if module.startswith("benchmarks"):
            importlib.import_module(module)


def test_light_modules_import_nothing_heavy():
    code = "import sys, json; " + "; ".join(f"import {module}" for module in LIGHT)
    code += "; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    loaded = {name.split(".")[0] for name in json.loads(output)}
    assert loaded.isdisjoint(HEAVY)


IMPORT_ALL = """
import importlib, logging, sys, threading, warnings
import numpy, random
random.seed(0), numpy.random.seed(0)
before = random.getstate(), numpy.random.get_state()[1].tobytes()
for name in sys.argv[1:]:
    importlib.import_module(name)
assert (random.getstate(), numpy.random.get_state()[1].tobytes()) == before, "random state"
assert not logging.getLogger().handlers, "log handlers"
assert threading.active_count() == 1, threading.enumerate()
assert "matplotlib.pyplot" not in sys.modules, "pyplot holds figures and picks a backend"
"""


@pytest.mark.slow
def test_importing_everything_has_no_effects(tmp_path):
    """No output, no log handlers, no threads, no files, no change of random state."""
    names = [name for name in MODULES if not name.startswith("benchmarks")]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert (result.stdout, result.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_the_types_of_every_package_may_be_used_by_others():
    root = Path(__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    found = settings["setuptools"]["packages"]["find"]["include"]
    packages = {pattern.removesuffix("*") for pattern in found}
    assert packages == {"faces", "detector", "recognizer", "pipeline", "scripts"}
    assert all((root / package / "py.typed").is_file() for package in packages)
    assert "py.typed" in settings["setuptools"]["package-data"]["*"]

"""Fixtures shared by the whole suite, and what the suite promises about itself."""

from __future__ import annotations

import errno
import gc
import hashlib
import logging
import os
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faces.errors import UserError

if TYPE_CHECKING:
    from recognizer.store.address import Place
    from tests.postgres import PostgresServer
    from tests.small_export import SmallExport

# Threads of one process for each worker of pytest-xdist, before anything reads these: libraries
# whose threads wait by spinning cost each other far more than they gain.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

ROOT = Path(__file__).resolve().parents[1]

FOREIGN = re.compile(
    r"make.*|pytest_(args|addopts)|venv|python(?!path$|home$).*|(https?|ftp|all|no)_proxy"
    r"|pg(host|port|user|database|password|passfile|sslmode|sslrootcert)"
    r"|columns|lines|(no|force)_color|clicolor.*|mplbackend|ci|tz|lang|language|lc_.*"
    r"|otel_.*|faces_(?!test_).*|opencv_.*|curl_.*|ssl_cert_.*|requests_ca_bundle|ort_.*",
    re.IGNORECASE,
)
"""What whoever runs the tests may have set, and what no result may depend on: `make` passes its own
variables on, terminals and proxies have theirs."""


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works() -> None:
    """A shell starts background jobs with SIGINT ignored, which the programs under test inherit."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _the_door_holds_the_real_functions() -> None:
    """It keeps what it was first asked for, which must be nothing that a test put in its place."""
    import faces

    assert faces.load_detector is not faces.load_embedder


@pytest.fixture(scope="session", autouse=True)
def _messages_show_paths_plainly() -> Iterator[None]:
    """No message of any test may hold a path as Python shows it, ``PosixPath('x')``.

    Wherever a path or what holds one is put into a sentence with its repr.
    """
    original = UserError.__init__

    def checked(self: UserError, *arguments: object) -> None:
        original(self, *arguments)
        assert not re.search(r"(Posix|Windows|Pure\w*)Path\(", str(self)), str(self)

    def checked_log(record: logging.LogRecord) -> str:
        text = message(record)
        assert not re.search(r"(Posix|Windows|Pure\w*)Path\(", text), text
        return text

    message = logging.LogRecord.getMessage
    UserError.__init__ = checked  # type: ignore[method-assign]
    logging.LogRecord.getMessage = checked_log  # type: ignore[method-assign]
    yield
    UserError.__init__ = original  # type: ignore[method-assign]
    logging.LogRecord.getMessage = message  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; skips the test where it is missing."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real data at {path}")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that runs until the end; skips the test where there is none."""
    from tests.postgres import PostgresServer, programs

    pytest.importorskip("pg8000", reason="pip install 'faces[postgres]'")
    found = programs()
    if found is None or os.name == "nt":
        pytest.skip("there is no PostgreSQL server here: apt install postgresql")
    server = PostgresServer(found)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def new_place(request, tmp_path) -> Callable[[str], Place]:
    """Places of either kind where nobody is kept yet."""
    if request.param == "sqlite":
        return lambda name: tmp_path / name
    from recognizer.store.address import place

    server = request.getfixturevalue("postgres_server")
    made: dict[str, Place] = {}

    def find(name: str) -> Place:
        if name not in made:
            made[name] = place(server.database())
        return made[name]

    return find


EXPORT_SOURCES = [
    *(ROOT / "constraints.txt", ROOT / "scripts" / "export.py"),
    *(ROOT / "tests" / "small_export.py", ROOT / "tests" / "tiny.py"),
    *(ROOT / "detector").glob("*.py"),
    *(ROOT / "detector" / "export").glob("*.py"),
    *(ROOT / "detector" / "inference").glob("*.py"),
    *(ROOT / "faces").glob("*.py"),
    *(ROOT / "faces" / "networks").glob("*.py"),
]
"""What decides about exported files of a detector: not training, evaluation and the like."""

Keep = Callable[[str, Iterable[Path], Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def keep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Keep:
    """Makes a folder once and keeps it until the files that decide about it change.

    It lies in pytest's cache (``pytest --cache-clear`` removes it), without one (``-p
    no:cacheprovider``) among the temporary files; one worker makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    ours = base.parent if hasattr(request.config, "workerinput") else base

    def keep(name: str, sources: Iterable[Path], make: Callable[[Path], None]) -> Path:
        digest = hashlib.sha256()
        for path in sorted(sources):
            digest.update(path.read_bytes())
        cache = getattr(request.config, "cache", None)
        if cache is None:
            (ours / name).mkdir(exist_ok=True)
        place = ours / name if cache is None else cache.mkdir(name)
        kept = place / digest.hexdigest()[:16]
        while not kept.is_dir():
            try:
                (ours / f"making-{name}").mkdir()
            except FileExistsError:
                time.sleep(0.2)
                continue
            try:
                if not kept.is_dir():  # or another worker has just finished
                    for old in kept.parent.glob("[0-9a-f]*"):
                        shutil.rmtree(old, ignore_errors=True)
                    making = Path(tempfile.mkdtemp(prefix="making-", dir=kept.parent))
                    make(making)
                    making.rename(kept)
            finally:
                (ours / f"making-{name}").rmdir()
        return kept

    return keep


@pytest.fixture(scope="session")
def small_export(keep: Keep) -> SmallExport:
    """A small detector in every format; the exporter takes half a minute."""
    from tests.small_export import SmallExport, make_small_export

    def make(folder: Path) -> None:
        (folder / "files").mkdir()
        made = make_small_export(folder / "files")
        (folder / "output.txt").write_text(made.output, encoding="utf-8")

    kept = keep("small_export", EXPORT_SOURCES, make)
    return SmallExport(kept / "files", (kept / "output.txt").read_text(encoding="utf-8"))


class _NothingSkippedInSilence:
    """Under ``CI=true`` a test of a browser or a database that was skipped fails the run."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and {"browser", "postgres"} & set(report.keywords):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.skipped.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.skipped:
            terminalreporter.section("tests were skipped, which CI does not allow")
            for line in self.skipped:
                terminalreporter.write_line(line)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests of benchmarks/ run when they are named: `make test-benchmarks`."""
    folder = ROOT / "tests" / "benchmarks"
    if collection_path == folder and not any("benchmarks" in given for given in config.args):
        return True
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks that follow from what a test asks for.

    A browser, a server of databases and exported files take seconds to start or to make.
    """
    asked = set(getattr(item, "fixturenames", ()))
    if "chromium" in asked:
        item.add_marker("browser")
    if "postgres_server" in asked:
        item.add_marker("postgres")
    marks = {mark.name for mark in item.iter_markers()}
    if "slow" not in marks and ("keep" in asked or marks & {"browser", "postgres"}):
        item.add_marker("slow")


@pytest.hookimpl(wrapper=True, optionalhook=True)  # without pytest-xdist there is no such hook
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One worker more than cores: one often waits, for a browser, a server or a camera's pace."""
    return (yield) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: it is no garbage and not looked through.

    Looking took a third of the time of collecting, and goes on during the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)  # of what is left after `-m` and `-k`
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first, so that no worker has one to itself at the end; then those of many tests.

    pytest-xdist's own order, by the number of tests alone, begins a long test of a small file last.
    """
    if not hasattr(config, "workerinput"):
        return
    tests = Counter(item.path for item in items)
    long: Counter[Path] = Counter()
    for item in items:
        mark = item.get_closest_marker("slow") or item.get_closest_marker("data")
        if mark is not None:
            long[item.path] += mark.args[0] if mark.args else 1
    items.sort(key=lambda item: (-long[item.path], -tests[item.path]))


def pytest_configure(config: pytest.Config) -> None:
    """Take away what is foreign, before any test or module of ours looks."""
    config.option.loadscopereorder = False  # pytest-xdist keeps the order above
    if os.environ.get("CI") == "true" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_NothingSkippedInSilence())
    for name in [name for name in os.environ if FOREIGN.fullmatch(name)]:
        del os.environ[name]
    if hasattr(time, "tzset"):  # not on Windows
        time.tzset()
    home = Path.home()
    if not os.access(home, os.W_OK):  # programs that keep caches there would warn or fail
        os.environ["HOME"] = tempfile.mkdtemp(prefix="faces-home-")


@pytest.fixture
def close_folder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder one that cannot be read: for root, and on Windows, too."""
    closed: set[str] = set()
    real = os.scandir

    def scandir(path: str) -> object:
        if os.path.abspath(path) in closed:  # noqa: PTH100
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda path: closed.add(os.path.abspath(path))  # noqa: PTH100

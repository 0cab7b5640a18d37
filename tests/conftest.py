"""Fixtures shared by the whole suite, and what the suite promises about itself."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faces.errors import UserError

if TYPE_CHECKING:
    from tests.small_export import SmallExport

# Threads of one process for each worker of pytest-xdist, before anything reads these: libraries
# whose threads wait by spinning cost each other far more than they gain.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

ROOT = Path(__file__).resolve().parents[1]

FOREIGN = re.compile(
    r"make.*|pytest_(args|addopts)|venv|python(?!path$|home$).*|(https?|ftp|all|no)_proxy"
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
def small_export(request: pytest.FixtureRequest) -> SmallExport:
    """A small detector in every format, made once and kept until the code that makes it changes.

    The exporter takes its time. What is kept lies in pytest's cache (``pytest --cache-clear``
    removes it) under a digest of the code; workers that make it at once make the same, and the
    first to finish is kept.
    """
    from tests.small_export import SmallExport, make_small_export

    kept = request.config.cache.mkdir("small_export") / _digest_of_the_exporter()
    if not kept.is_dir():
        for old in kept.parent.glob("[0-9a-f]*"):
            shutil.rmtree(old, ignore_errors=True)
        making = Path(tempfile.mkdtemp(prefix="making-", dir=kept.parent))
        (making / "files").mkdir()
        made = make_small_export(making / "files")
        (making / "output.txt").write_text(made.output, encoding="utf-8")
        try:
            making.rename(kept)
        except OSError:  # another worker was first
            shutil.rmtree(making)
    return SmallExport(kept / "files", (kept / "output.txt").read_text(encoding="utf-8"))


def _digest_of_the_exporter() -> str:
    digest = hashlib.sha256()
    for name in ("constraints.txt", "tests/small_export.py", "tests/tiny.py", "scripts/export.py"):
        digest.update((ROOT / name).read_bytes())
    for folder in ("detector", "faces"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class _NothingSkippedInSilence:
    """Under ``CI=true`` a browser test that was skipped fails the run."""

    def __init__(self) -> None:
        self.browsers: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and "browser" in report.keywords:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.browsers.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.browsers and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.browsers:
            terminalreporter.section("browser tests were skipped, which CI does not allow")
            for line in self.browsers:
                terminalreporter.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    """Take away what is foreign, before any test or module of ours looks."""
    if os.environ.get("CI") == "true" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_NothingSkippedInSilence())
    for name in [name for name in os.environ if FOREIGN.fullmatch(name)]:
        del os.environ[name]
    if hasattr(time, "tzset"):  # not on Windows
        time.tzset()
    home = Path.home()
    if not os.access(home, os.W_OK):  # programs that keep caches there would warn or fail
        os.environ["HOME"] = tempfile.mkdtemp(prefix="faces-home-")

"""A PostgreSQL server of the tests' own: on a free port, in a folder of its own."""

from __future__ import annotations

import ctypes
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

USER = "faces_test"


def programs() -> Path | None:
    """Where initdb and postgres are; None where they are not. Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = Path(found) if found else debian[-1] if debian else None
    return None if path is None else path.resolve().parent


def _end_with_us() -> None:
    """Linux stops the server (SIGQUIT) when the tests are killed; runs in it, as its own user."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


class PostgresServer:
    """Made and started at once. Passwords are asked for, so that they can be seen to leak.

    Postgres refuses to run as root: there the system's user ``postgres`` runs it.
    """

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self.password = secrets.token_hex(8)
        self.folder = Path(tempfile.mkdtemp(prefix="faces-pg-"))
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        self._who: dict[str, Any] = {"user": "postgres", "group": "postgres"} if root else {}
        if root:
            shutil.chown(self.folder, "postgres", "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        secret = self.folder / "password"
        secret.write_text(self.password)
        if root:
            shutil.chown(secret, "postgres", "postgres")
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", USER, "--pwfile", str(secret),
            "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._copying: str | None = None
        self.start()

    def start(self) -> None:
        """Returns when it answers; after `kill` it recovers what was committed."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [
                *(str(self._bin / "postgres"), "-D", str(self.folder / "data")),
                *("-p", str(self.port), "-k", str(self.folder), "-c", "listen_addresses=127.0.0.1"),
                *("-c", "shared_buffers=16MB", "-c", "max_connections=60", "-c", "fsync=off"),
                # Making a database is most of what it does for a test.
                *("-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "jit=off"),
                *("-c", "full_page_writes=off", "-c", "autovacuum=off"),
            ],
            cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=_end_with_us,
            **self._who,
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + 60
        while True:
            try:
                self.sql("SELECT 1", "template1")
                return
            except Exception:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL for every process of the server, as when the power goes."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for left in self._processes():  # its children have sessions of their own
            os.kill(left, signal.SIGKILL)
        while self._processes():
            time.sleep(0.02)

    def stop(self) -> None:
        """For good."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """The address, with the password, of a new database."""
        name = f"people{next(self._numbers)}"
        if self._copying is None:  # 15 and later write the copy into the log, unless asked not to
            [[version]] = self.sql("SHOW server_version_num", "template1")
            self._copying = "STRATEGY file_copy" if int(version) >= 150000 else ""
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0 {self._copying}", "template1")
        return self.address(name)

    def address(self, name: str) -> str:
        """Of a database, with the password."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{name}"

    def sql(self, text: str, database: str) -> list[Any]:
        """As another program would."""
        from pg8000.native import Connection

        link = Connection(
            USER, "127.0.0.1", database, self.port, self.password, ssl_context=False, timeout=30
        )
        try:
            return link.run(text) or []
        finally:
            link.close()

    def _processes(self) -> list[int]:
        """Of the server, dead ones aside."""
        import psutil

        found = []
        for process in psutil.process_iter(["pid", "name", "status"]):
            if process.info["name"] == "postgres" and process.info["status"] != "zombie":
                try:
                    if process.cwd() == str(self.folder / "data"):
                        found.append(process.pid)
                except psutil.Error:
                    pass
        return found

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments], cwd=self.folder,
            capture_output=True, text=True, check=False, **self._who,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

"""Long tasks in the background, one at a time, whose progress can be asked for and waited for."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from faces.errors import UserError
from pipeline.service.errors import ServiceError
from pipeline.service.types import Job

logger = logging.getLogger(__name__)

KEPT = 20  # finished jobs that can still be asked for

Progress = Callable[[float, str], None]
Task = Callable[[Progress], dict[str, Any]]
"""Does the work, telling how far it is (0..1) and what it does; returns the job's result."""


class Jobs:
    """Runs one task at a time in a thread of its own."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, task: Task) -> Job:
        """Begin. Raises ServiceError ``conflict`` while another one runs."""
        with self._news:
            if self._thread is not None:
                raise ServiceError(
                    "conflict", "a fit is running already", {"job": next(reversed(self._jobs))}
                )
            job = Job(
                job=secrets.token_hex(8), kind="fit", state="running", progress=0,
                message="starting", news=0, started=time.time(),
            )  # fmt: skip
            self._jobs[job.job] = job
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
            self._thread = threading.Thread(
                target=self._run, args=(job.job, task), name="fit", daemon=True
            )
            self._thread.start()
        return job

    def get(self, name: str | None) -> Job:
        """One job, or the newest. Raises ServiceError ``not_found``."""
        with self._news:
            if name is None and self._jobs:
                return self._jobs[next(reversed(self._jobs))]
            if name is None or name not in self._jobs:
                raise ServiceError("not_found", "there is no such job")
            return self._jobs[name]

    def wait(self, name: str | None, seen: int, seconds: float) -> Job:
        """As `get`, but waits for news after ``seen``; returns without any after ``seconds``."""
        until = time.monotonic() + seconds
        job = self.get(name)
        with self._news:
            while job.news <= seen and job.state == "running":
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._news.wait(left)
                job = self._jobs.get(job.job, job)
        return job

    def finish(self) -> None:
        """Wait until nothing runs any more."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self, name: str, task: Task) -> None:
        try:
            result = task(lambda progress, message: self._tell(
                name, progress=min(1.0, max(0.0, float(progress))), message=message
            ))  # fmt: skip
            self._tell(name, ended=True, state="done", progress=1.0, message="done", result=result)
        except UserError as error:
            self._tell(name, ended=True, state="failed", message=str(error))
        except Exception as error:
            logger.exception("a fit has failed")
            self._tell(name, ended=True, state="failed", message=f"a bug: {type(error).__name__}")

    def _tell(self, name: str, ended: bool = False, **changes: Any) -> None:
        with self._news:
            job = self._jobs[name]
            if ended:
                changes["finished"] = time.time()
                self._thread = None
            self._jobs[name] = job.model_copy(update={"news": job.news + 1, **changes})
            self._news.notify_all()

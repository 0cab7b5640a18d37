"""Runs programs as several processes each, as torchrun does, but imports torch only once.

``python -m tests.detector.training.together JSON``: a list of ``[processes, script, *arguments]``,
run one after another. Forking is what saves the time, so this is not for Windows.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import sys
import traceback

from tests.detector.training.runs import without_pictures


def run(size: int, script: str, *arguments: str) -> bool:
    """Whether all of these processes ended well; the others of one that did not are killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = set()
    for rank in range(size):
        child = os.fork()
        if not child:
            world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
            os.environ |= {name: str(value) for name, value in world.items()}
            os.environ["MASTER_ADDR"] = "127.0.0.1"
            sys.argv = [script, *arguments]
            code = 1
            try:
                runpy.run_path(script, run_name="__main__")
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        running.add(child)
    well = True
    while running:
        child, status = os.wait()
        running.discard(child)
        if status and well:
            well = False
            for other in running:
                os.kill(other, signal.SIGKILL)
    return well


if __name__ == "__main__":
    without_pictures(setattr)
    sys.exit(0 if all(run(*command) for command in json.loads(sys.argv[1])) else 1)

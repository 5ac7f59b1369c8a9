"""A server in a process of its own, for measuring and for trying what happens when it is killed."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

from fsplit_lib.errors import OffloadError

__all__ = ["ServerProcess"]


class ServerProcess:
    """``fsplit serve`` on a free port of loopback; it ends with the block, and with the process that started it.

    Args:
        weights: shipped codec or a folder.
        options: further ones of ``fsplit serve``, such as ``"--max-batch", "4"``.
        token: handed over in the environment, so that no process list shows it.
        port: a free one by default.
        start_s: how long loading may take.

    Attributes:
        url: of the server.
        port: likewise.

    Raises:
        OffloadError: on entering: it did not start; with its own last words.
    """

    def __init__(
        self, weights: str | Path, *options: str, token: str | None = None, port: int = 0, start_s: float = 120.0
    ):
        call = "from fsplit_lib.cli import main; main()"
        asked = ["serve", "--weights", str(weights), "--port", str(port), "--stop-on-eof", *options]
        self.command = [sys.executable, "-W", "ignore", "-c", call, *asked]
        self.environment = os.environ | ({"FSPLIT_TOKEN": token} if token else {})
        self.start_s, self.url, self.port = start_s, "", 0

    def __enter__(self) -> "ServerProcess":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(self.command, env=self.environment, text=True, **pipes)
        alarm = threading.Timer(self.start_s, self._process.kill)
        alarm.start()
        try:
            words = []
            for line in self._process.stdout:
                words.append(line.strip())
                if found := re.search(r"http://\S+:(\d+)", line):
                    self.url, self.port = found[0], int(found[1])
                    threading.Thread(target=self._process.stdout.read, daemon=True).start()  # the pipe never fills
                    return self
        except BaseException:
            self.kill()
            raise
        finally:
            alarm.cancel()
        self.kill()
        raise OffloadError(f"the server did not start within {self.start_s:g} s: {' '.join(words[-3:]) or 'no word'}")

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self._process.kill()
        self._process.wait(10)

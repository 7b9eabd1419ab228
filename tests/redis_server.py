"""A real redis-server of a test's own, which can be killed, paused, emptied and filled up."""

import signal
import subprocess
from pathlib import Path
from typing import Self

import redis
from loadtest.system import free_port, listens

from processes import HANG, need, wait_until


class RedisServer:
    """Runs on a port of its own, without persistence. PORT in *arguments* and in *url* stands for that port."""

    def __init__(self, folder: Path, *arguments: str, url: str = "", socket_path: str = "") -> None:
        binary = need("redis-server")
        self.port = free_port()
        self.url = url.replace("PORT", str(self.port)) or f"redis://127.0.0.1:{self.port}/0"
        plain = "0" if "--tls-port" in arguments or socket_path else str(self.port)
        self._command = [binary, "--port", plain, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._command += ["--appendonly", "no", *(word.replace("PORT", str(self.port)) for word in arguments)]
        self._socket_path = socket_path
        self.login: dict[str, str] = {}
        self.starts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_killed()

    def starts(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(lambda: self._listens() or self.process.poll() is not None, "redis-server listens")
        assert self.process.poll() is None, "redis-server ended"

    def _listens(self) -> bool:
        return Path(self._socket_path).exists() if self._socket_path else listens(self.port)

    def is_killed(self) -> None:
        """As `kill -9`: what it held is gone."""
        self.process.kill()
        self.process.wait(HANG)

    def pauses(self) -> None:
        """Accepts connections, since the kernel does, and never answers."""
        self.process.send_signal(signal.SIGSTOP)

    def goes_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def tell(self, *words: str) -> object:
        """Send one command over a connection of its own; return the answer."""
        with redis.Redis(port=self.port, socket_timeout=HANG, **self.login) as client:
            return client.execute_command(*words)

"""A real redis-server of a test's own, which can be killed, paused, emptied and filled up."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


class RedisServer:
    """Runs on a port of its own, without persistence."""

    def __init__(self, folder: Path, *arguments: str, url: str = "", socket_path: str = "") -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("there is no redis-server on this machine (Debian: apt-get install redis-server)")
        self.port = free_port()
        self.url = url.replace("PORT", str(self.port)) or f"redis://127.0.0.1:{self.port}/0"
        plain = "0" if "--tls-port" in arguments or socket_path else str(self.port)
        self._command = [binary, "--port", plain, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._command += ["--appendonly", "no", *(word.replace("PORT", str(self.port)) for word in arguments)]
        self._socket_path = socket_path
        self.starts()

    def starts(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._listens():
            assert time.monotonic() < deadline, "redis-server did not start"
            assert self.process.poll() is None, "redis-server ended"
            time.sleep(0.02)

    def _listens(self) -> bool:
        if self._socket_path:
            return Path(self._socket_path).exists()
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def is_killed(self) -> None:
        """As `kill -9`: what it held is gone."""
        self.goes_on()
        self.process.kill()
        self.process.wait(10)

    def pauses(self) -> None:
        """Accepts connections, since the kernel does, and never answers."""
        self.process.send_signal(signal.SIGSTOP)

    def goes_on(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def tell(self, *words: str | bytes) -> bytes:
        """One command, over a connection of its own; Redis's raw answer."""
        encoded = [word.encode() if isinstance(word, str) else word for word in words]
        request = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(request)
            return connection.recv(65_536)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]

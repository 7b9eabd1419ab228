"""A TCP proxy that can refuse, reset, hang or slow down what passes through it."""

import contextlib
import socket
import struct
import threading
import time


class Proxy:
    """Stands on a port of its own before the port *behind*. *mode* is pass, refuse, reset, hang, slow."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.mode = "pass"
        threading.Thread(target=self._accept, daemon=True).start()

    def becomes(self, mode: str) -> None:
        """Change the mode; where connections are refused or reset, those that stand are broken too."""
        self.mode = mode
        if mode in ("refuse", "reset"):
            self._break_all()
        if mode == "refuse":
            self._stop_listening()
        elif self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, daemon=True).start()

    def closes(self) -> None:
        """The end."""
        self._stop_listening()
        self._break_all()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or the thread that waits would accept one more
        self._listener.close()

    def _break_all(self) -> None:
        while self._pairs:
            for end in self._pairs.pop():
                _reset(end)

    def _accept(self) -> None:
        listener = self._listener
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if self.mode == "reset":
                    _reset(client)
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._behind))
                except OSError:
                    _reset(client)
                    continue
                self._pairs.append((client, server))
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                while self.mode == "hang":
                    time.sleep(0.02)
                if self.mode == "slow":
                    time.sleep(0.1)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()

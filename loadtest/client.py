"""Connections that try once.

geventhttpclient, under Locust's FastHttpUser, asks again by itself when a connection is closed unanswered: it would hide the very
requests that a failing replica loses.
"""

import errno
import socket
from itertools import count
from typing import Any

import gevent
from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

_NUMBERS = count()

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "late"),
    (gevent.Timeout, "late"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "reset"),
    (BrokenPipeError, "reset"),
    (HTTPConnectionClosed, "closed unanswered"),
    (HTTPParseError, "torn"),
)


class NoRetryPool(HTTPClientPool):
    """A pool whose clients send each request once.

    On this machine every connection comes from an address of its own (127.100.0.1 and on), as if from many machines: a machine
    soon uses a port again, and a balancer that tracks connections would send the new one after the old, to a node that is lost.
    """

    def get_client(self, url: Any) -> HTTPClient:  # noqa: ANN401 - a URL, in either of the library's forms
        """As the library's, and made to try once."""
        client = super().get_client(url)
        pool = client._connection_pool  # noqa: SLF001 - there is no public way: it tries as often as its pool has places, and once more
        if pool.size >= 0:
            pool.size = -1
            if client.host.startswith("127."):
                pool._create_tcp_socket = _from_an_address_of_its_own  # type: ignore[method-assign] # noqa: SLF001
        return client


def _from_an_address_of_its_own(family: int, socktype: int, protocol: int) -> Any:  # noqa: ANN401 - gevent's socket
    import gevent.socket

    connection = gevent.socket.socket(family, socktype, protocol)
    number = next(_NUMBERS)
    connection.bind((f"127.{number // 62_500 % 100 + 100}.{number // 250 % 250}.{number % 250 + 1}", 0))
    return connection


def fault_of(error: BaseException) -> tuple[str, str]:
    """One word for what went wrong on the way, and the rest of it. The library wraps some errors, as if it had tried again."""
    error = getattr(error, "original", None) or error
    detail = " ".join(str(error).split())
    for kind, word in _WORDS:
        if isinstance(error, kind):
            return word, detail
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "unreachable", detail
    return ("transport" if isinstance(error, (OSError, socket.error)) else "error"), detail

"""Connections without retries.

geventhttpclient, under Locust's FastHttpUser, retries by itself when a connection is closed unanswered: it would hide the very
requests that a failing replica loses.
"""

import errno
from itertools import count
from typing import Any

import gevent
from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

from loadtest.record import RequestFailure

_NUMBERS = count()

_FAILURES: tuple[tuple[type[BaseException], RequestFailure], ...] = (
    (TimeoutError, RequestFailure.LATE),
    (gevent.Timeout, RequestFailure.LATE),
    (ConnectionRefusedError, RequestFailure.REFUSED),
    (ConnectionResetError, RequestFailure.RESET),
    (BrokenPipeError, RequestFailure.RESET),
    (HTTPConnectionClosed, RequestFailure.CLOSED),
    (HTTPParseError, RequestFailure.TORN),
)


class NoRetryPool(HTTPClientPool):
    """A pool whose clients send each request once.

    On this machine every connection has a source address of its own (127.100.0.1 and on), as if from many machines: one machine
    soon reuses a port, and a balancer that tracks connections would send the new connection after the old one, to a lost node.
    """

    def get_client(self, url: Any) -> HTTPClient:  # noqa: ANN401 - a URL, in either of the library's forms
        """As the library's, without retries."""
        client = super().get_client(url)
        pool = client._connection_pool  # noqa: SLF001 - not public: it tries once more than its pool has places
        if pool.size >= 0:
            pool.size = -1
            if client.host.startswith("127."):
                pool._create_tcp_socket = _from_fresh_address  # type: ignore[method-assign] # noqa: SLF001
        return client


def _from_fresh_address(family: int, socktype: int, protocol: int) -> Any:  # noqa: ANN401 - gevent's socket
    import gevent.socket

    connection = gevent.socket.socket(family, socktype, protocol)
    number = next(_NUMBERS)
    connection.bind((f"127.{number // 62_500 % 100 + 100}.{number // 250 % 250}.{number % 250 + 1}", 0))
    return connection


def failure_of(error: BaseException) -> tuple[RequestFailure, str]:
    """What went wrong on the way, and its detail. The library wraps some errors, as if after a retry."""
    error = getattr(error, "original", None) or error
    detail = " ".join(str(error).split())
    for kind, failure in _FAILURES:
        if isinstance(error, kind):
            return failure, detail
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return RequestFailure.UNREACHABLE, detail
    return (RequestFailure.TRANSPORT if isinstance(error, OSError) else RequestFailure.ERROR), detail

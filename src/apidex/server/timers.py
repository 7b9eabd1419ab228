"""When a connection is closed because its client does nothing, or too little. Pure: times and byte counts come in.

Every state of a connection has one timer. Only a step of the protocol starts another state, so a client cannot keep a connection
open for free: an empty line begins no request, and a byte of a head does not begin another head.

| state | it begins when | timer | then |
|---|---|---|---|
| NEW | the connection was accepted | request | close |
| HEAD | the first byte of a request came | request | answer 408, close |
| ANSWER | the head is complete | none: the answer is being made | |
| BODY | the answer is complete, the request's body is not | request, from its first byte | close |
| IDLE | request and answer are complete | keep-alive | close |
| LINGER | the last answer was written | linger | close |

In every state, the send timer also runs while the client has not read what was written. The next response of a connection that is
too old is its last one (the timer `age`).
"""

from enum import Enum, auto

LINGER_SECONDS = 2.0
"""How long input is read and discarded after the last answer, so that no reset destroys it (RFC 9112, section 9.6)."""

MIN_SEND_RATE = 1024
"""Bytes a second that a client takes at least, on average over the time of the send timer."""


class ConnectionState(Enum):
    """What a connection waits for."""

    NEW = auto()
    HEAD = auto()
    ANSWER = auto()
    BODY = auto()
    IDLE = auto()
    LINGER = auto()


class Timers:
    """Seconds: *request* for a whole request, *keep_alive* between two, *send* for a client to read what was written.

    *limits* says how long a connection may stay in each state.
    """

    def __init__(self, request: float, keep_alive: float, send: float) -> None:
        self.request, self.send = request, send
        self.limits = {
            ConnectionState.NEW: request,
            ConnectionState.HEAD: request,
            ConnectionState.ANSWER: float("inf"),
            ConnectionState.BODY: request,
            ConnectionState.IDLE: keep_alive,
            ConnectionState.LINGER: LINGER_SECONDS,
        }


class SendWindow:
    """Whether a client takes what was written. *taken* counts the bytes that it has acknowledged so far."""

    __slots__ = ("_since", "_taken")

    def __init__(self, now: float, taken: int) -> None:
        self._since, self._taken = now, taken

    def is_stalled(self, now: float, taken: int, limit: float) -> bool:
        """Whether less than MIN_SEND_RATE was taken in the *limit* seconds of this window. Then, or if not, another begins."""
        if now - self._since < limit:
            return False
        is_slow = taken - self._taken < MIN_SEND_RATE * limit
        self._since, self._taken = now, taken
        return is_slow

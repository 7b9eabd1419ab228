"""Types: those of ASGI 3, as loosely as servers and frameworks agree on them, and a response that does without ASGI."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]

SyncResponse = tuple[int, bytes, bytes]
"""Status, header lines as HTTP/1.1 sends them, and body."""

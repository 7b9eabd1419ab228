"""A bare ASGI application on uvicorn that replays the responses of another server: the least that uvicorn can cost.

    python -m loadtest.bench.replay PORT RESPONSES

RESPONSES is a file in MessagePack: status, headers and body by path.
"""

import sys
from pathlib import Path

import msgspec
import uvicorn

from apidex.http.asgi import Receive, Scope, Send

Responses = dict[bytes, tuple[int, list[tuple[bytes, bytes]], bytes]]


def main() -> None:
    """Serve on one port until ended."""
    responses = msgspec.msgpack.decode(Path(sys.argv[2]).read_bytes(), type=Responses)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        status, headers, body = responses[scope["raw_path"]]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

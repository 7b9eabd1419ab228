"""fakeredis as a server, for machines without a redis-server: `python fake_redis.py PORT`."""

import sys
from typing import Any

import redis
from fakeredis import TcpFakeServer
from fakeredis._clients._tcp_server import TCPFakeRequestHandler


class PersistentHandler(TCPFakeRequestHandler):
    """One that goes on after an error. fakeredis's own closes the connection, and it is by an error, NOSCRIPT, that a client
    learns that it has to send a script.
    """

    def setup(self) -> None:
        """As fakeredis's, with errors as answers."""
        super().setup()
        read = self.current_client.read_response

        def answer(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever Redis answers
            try:
                return read(*arguments, **options)
            except redis.ResponseError as error:
                return error

        self.current_client.read_response = answer  # type: ignore[method-assign]


if __name__ == "__main__":
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis")
    server.RequestHandlerClass = PersistentHandler
    server.serve_forever()

"""fakeredis as a server, for machines without a redis-server: `python fake_redis.py PORT`."""

import sys

from fakeredis import TcpFakeServer

if __name__ == "__main__":
    TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis").serve_forever()

"""What HAProxy's log says of retries. Pure."""

import re

# httplog: actconn/feconn/beconn/srv_conn/retries srv_queue/backend_queue; a + where another server was asked
_COUNTS = re.compile(r" \d+/\d+/\d+/\d+/\+?(\d+) \d+/\d+ ")


def retries(log: str) -> int:
    """How many times a request was sent again. HAProxy logs each request that it retried, and few others."""
    return sum(map(int, _COUNTS.findall(log)))

"""nginx, or a test that is skipped."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.system import free_port, listens

from loadtest import nginx
from processes import HANG, need, wait_until
from real.certificates import self_signed


@contextmanager
def running(folder: Path, port: int, server: str, http: str = "") -> Iterator[None]:
    """nginx on *port*, with parts of its configuration as for `loadtest.nginx.command`."""
    need("nginx")
    with subprocess.Popen(nginx.command(folder, port, server, http=http)) as process:
        try:
            wait_until(lambda: listens(port), "nginx listens")
            yield
        finally:
            process.terminate()
            process.wait(HANG)


_PREFIXED = """
    server {{
        listen 127.0.0.1:{port} ssl sndbuf=64k; ssl_certificate {certificate}; ssl_certificate_key {key};
        proxy_max_temp_file_size 0;
        location = /apis {{ proxy_pass http://127.0.0.1:{replica}/; }}
        location /apis/ {{
            proxy_http_version 1.1;
            if ($request_uri ~ "^/apis(/.*)") {{ proxy_pass http://127.0.0.1:{replica}$1; }}
        }}
    }}
"""


@contextmanager
def prefixed(folder: Path, replica: int) -> Iterator[tuple[str, str]]:
    """nginx with TLS, which removes `/apis` from paths for a *replica* and tells it nothing; its URL, and its certificate.

    docs/deploy.md has the same lines. For a client that does not read, it holds 200 kB of an answer and waits.
    """
    certificate, key = self_signed(folder)
    port = free_port()
    http = _PREFIXED.format(port=port, certificate=certificate, key=key, replica=replica)
    with running(folder, free_port(), "return 404;", http):
        yield f"https://localhost:{port}/apis", certificate

"""nginx, or a test that is skipped."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loadtest.system import UnsupportedError, free_port, listens

from loadtest import nginx
from processes import HANG, wait_until
from real.certificates import self_signed


def nginx_command(*arguments, **options) -> list[str]:
    """As `loadtest.nginx.command`."""
    try:
        return nginx.command(*arguments, **options)
    except UnsupportedError as error:
        pytest.skip(str(error))


_PREFIXED = """
    server {{
        listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
        location = /apis {{ proxy_pass http://127.0.0.1:{replica}/; }}
        location /apis/ {{ if ($request_uri ~ "^/apis(/.*)") {{ proxy_pass http://127.0.0.1:{replica}$1; }} }}
    }}
"""


@contextmanager
def prefixed(folder: Path, replica: int) -> Iterator[tuple[str, str]]:
    """nginx with TLS, which removes `/apis` from paths for a *replica* and tells it nothing; its URL, and its certificate.

    docs/deploy.md has the same lines.
    """
    certificate, key = self_signed(folder)
    port = free_port()
    http = _PREFIXED.format(port=port, certificate=certificate, key=key, replica=replica)
    with subprocess.Popen(nginx_command(folder, free_port(), "return 404;", http=http)) as process:
        try:
            wait_until(lambda: listens(port), "nginx listens")
            yield f"https://localhost:{port}/apis", certificate
        finally:
            process.terminate()
            process.wait(HANG)

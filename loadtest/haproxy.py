"""HAProxy as compose and `edge` configure it, before replicas on ports of this machine; and what its log says of retries."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtest.system import free_port, listens, output_of, tool, wait_for

IMAGE = "haproxy:3.0"
"""The image of compose and `edge`. Without Docker, an installed HAProxy is used."""

_CONFIGURATION = Path(__file__).parents[1] / "deploy/k8s/components/edge/haproxy.cfg"
_PATIENCE = 60.0

# httplog: actconn/feconn/beconn/srv_conn/retries srv_queue/backend_queue; a + where another server was asked
_COUNTS = re.compile(r" \d+/\d+/\d+/\d+/\+?(\d+) \d+/\d+ ")


@contextmanager
def haproxy(
    folder: Path,
    *ports: int,
    core: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """HAProxy before the replicas on *ports*, on one *core* if that is given; its port.

    It gets *environ*, and logs into *folder*. Raises UnsupportedError where there is none.
    """
    port, health = free_port(), free_port()
    file = configured(folder, ports, port, health)
    name, environ = f"apidex-haproxy-{port}", environ or {}
    command = _docker(name, file, core, environ) if _has_docker() else installed(file, core)
    with (
        (folder / "haproxy.log").open("wb") as log,
        subprocess.Popen(command, env=os.environ | environ, stdout=log, stderr=log) as process,  # noqa: S603
    ):
        try:
            wait_for(_PATIENCE, "HAProxy", lambda: listens(health))
            yield port
        finally:
            if command[0] == "docker":
                subprocess.run(["docker", "kill", name], capture_output=True, check=False)  # noqa: S603, S607
            process.terminate()
            process.wait(_PATIENCE)


def configured(folder: Path, ports: Sequence[int], port: int, health: int) -> Path:
    """A configuration in *folder* for HAProxy on *port*, with its probes on *health*, before the replicas on *ports*."""
    file = folder / "haproxy.cfg"
    file.write_text(_configuration(ports, port, health))
    file.chmod(0o644)
    return file


def installed(file: Path, core: int | None = None) -> list[str]:
    """The command for an installed HAProxy. Raises UnsupportedError where there is none."""
    return [*([] if core is None else ["taskset", "--cpu-list", str(core)]), tool("haproxy"), "-db", "-f", str(file)]


def version() -> str:
    """Which HAProxy it is. Raises UnsupportedError where there is none."""
    command = ["docker", "run", "--rm", IMAGE, "haproxy"] if _has_docker() else [tool("haproxy")]
    return output_of(*command, "-v").partition("-")[0].replace(" version", "")


def retries(log: str) -> int:
    """How many times a request was sent again. HAProxy logs each request that it retried, and few others."""
    return sum(map(int, _COUNTS.findall(log)))


def _has_docker() -> bool:
    command = ["docker", "version"]
    return bool(shutil.which("docker")) and not subprocess.run(command, check=False, capture_output=True).returncode  # noqa: S603


def _docker(name: str, file: Path, core: int | None, environ: Mapping[str, str]) -> list[str]:
    options = [f"--env={key}={value}" for key, value in environ.items()]
    options += [] if core is None else [f"--cpuset-cpus={core}"]
    mount = f"{file}:/usr/local/etc/haproxy/haproxy.cfg:ro"
    return ["docker", "run", "--rm", "--name", name, "--network", "host", *options, "--volume", mount, IMAGE]


def _configuration(ports: Sequence[int], port: int, health: int) -> str:
    """The configuration, with addresses of this machine and without DNS."""
    text = re.sub(r"^resolvers dns\n(?:[ \t]+.*\n)+", "", _CONFIGURATION.read_text(), flags=re.MULTILINE)
    servers = "\n".join(f"    server replica{number} 127.0.0.1:{number}" for number in ports)
    text = re.sub(r"^ +server-template .*$", servers, text, flags=re.MULTILINE)
    for usual, here in (
        ("resolvers dns resolve-prefer ipv4 init-addr none", ""),
        ("check port 8001", "check"),
        ("bind :8000", f"bind 127.0.0.1:{port}"),
        ("bind :8001", f"bind 127.0.0.1:{health}"),
        ("abns@unready", f"abns@unready{port}"),
    ):
        text = text.replace(usual, here)
    return text

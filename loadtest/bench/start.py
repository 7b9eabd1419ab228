"""How long it takes from the command to the first answer, and what memory the process then holds.

    python -m loadtest.bench.start [URL of an upstream] [runs]

Without a URL it takes the real catalogue at ../shared/data/public-apis, or else the starter catalogue alone.
"""

import http.client
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from socket import create_server

_REAL = Path(__file__).parents[3] / "shared/data/public-apis/README.md"
_PATIENCE = 30.0


def main(arguments: list[str]) -> None:
    """Print a line for each run, and the median."""
    default = _REAL.as_uri() if _REAL.exists() else "http://127.0.0.1:1/"
    upstream = arguments[0] if arguments else default
    runs = int(arguments[1]) if len(arguments) > 1 else 5
    print(f"upstream {upstream}\n{'run':>6} {'first answer':>13} {'CPU':>8} {'memory':>9} {'under requests':>15}")
    figures = [_run(upstream) for _ in range(runs)]
    for number, figure in enumerate(figures, start=1):
        _print(str(number), figure)
    _print("median", tuple(statistics.median(column) for column in zip(*figures, strict=True)))


def _print(label: str, figure: tuple[float, ...]) -> None:
    seconds, cpu, memory, later = figure
    print(f"{label:>6} {seconds * 1000:>10.0f} ms {cpu * 1000:>5.0f} ms {memory:>6.1f} MB {later:>12.1f} MB")


def _run(upstream: str) -> tuple[float, float, float, float]:
    """Seconds to the first answer, CPU seconds by then, megabytes by then, and megabytes after a thousand searches."""
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = os.environ | {"APIDEX_PORT": str(port), "APIDEX_UPSTREAM": upstream}
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "apidex", "serve"], env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            _first_answer(port, began + _PATIENCE)
            seconds = time.perf_counter() - began
            cpu, memory = _cpu_seconds(process.pid), _megabytes(process.pid)
            _search(port, 1000)
            return seconds, cpu, memory, _megabytes(process.pid)
        finally:
            process.terminate()


def _first_answer(port: int, deadline: float) -> None:
    while True:
        try:
            return _search(port, 1)
        except OSError:
            if time.perf_counter() > deadline:
                raise
            time.sleep(0.002)


def _search(port: int, times: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        for number in range(times):
            connection.request("GET", f"/{'aeiou'[number % 5]}{number or ''}")
            response = connection.getresponse()
            response.read()
            if response.status != http.client.OK:
                raise RuntimeError(f"a search was answered {response.status}")
    finally:
        connection.close()


def _megabytes(pid: int) -> float:
    """Resident memory, from /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(sys.argv[1:])

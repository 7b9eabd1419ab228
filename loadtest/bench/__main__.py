"""All benchmarks, or some of them: figures and ratios, losses included. No figure fails a run.

    python -m loadtest.bench [--short] [--write] [--upstream FILE] [PART…]

`--help` lists the parts. It takes the list of public APIs from the tests' data, unless --upstream names another file.
"""

import argparse
import os
import platform
import re
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtest.bench import activation, compare, fleet, goodput, hostile, overload, scaling, search_engines, start, wide
from loadtest.bench.process import on_the_client_core
from loadtest.system import UnsupportedError

_ROOT = Path(__file__).parents[2]
_LIST = _ROOT / "tests/testdata/public-apis/list.tar.xz"
_PAGE, _PLOT, _SEARCH_PLOT = (_ROOT / "docs" / name for name in ("speed.md", "scaling.svg", "search.svg"))


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "contenders": lambda options: compare.measure(options.upstream.resolve(), short=options.short),
    "start": lambda options: start.measure(options.upstream.resolve().as_uri(), runs=1 if options.short else 5),
    "search": lambda options: search_engines.measure(
        (3_000,) if options.short else scaling.SIZES, _SEARCH_PLOT if options.write else None
    ),
    "scaling": lambda options: scaling.measure(
        (1000, 10_000) if options.short else scaling.SIZES, _PLOT if options.write else None
    ),
    "overload": lambda options: overload.measure(short=options.short),
    "goodput": lambda options: goodput.measure(short=options.short),
    "fleet": lambda options: fleet.measure(10_000 if options.short else 1_000_000),
    "wide": lambda options: wide.measure(*((10_000, 2.0) if options.short else (1_000_000, 20.0))),
    "activation": lambda options: activation.measure(20 if options.short else 200),
    "hostile": lambda options: hostile.measure(options.upstream.resolve(), short=options.short),
}


def main() -> int:
    """Print the tables of each part in the arguments."""
    options = _parser().parse_args()
    with TemporaryDirectory() as folder:
        options.upstream = options.upstream or _extracted(folder)
        return _run(options)


def _extracted(folder: str) -> Path:
    with tarfile.open(_LIST) as archive:
        archive.extract("README.md", folder, filter="data")
    return Path(folder, "README.md")


def _run(options: argparse.Namespace) -> int:
    try:
        for part in options.parts or PARTS:
            with on_the_client_core():
                text = f"{_circumstances(part, short=options.short)}\n\n{PARTS[part](options)}"
            print(f"## {part}\n\n{text}", flush=True)
            if options.write:
                _PAGE.write_text(_with(_PAGE.read_text(), part, text))
    except UnsupportedError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--short", action="store_true", help="one short round: whether it works, not how fast it is")
    parser.add_argument("--write", action="store_true", help="put the tables and the plot into docs/speed.md")
    parser.add_argument("--upstream", type=Path, help="a catalogue's file")
    return parser


def _circumstances(part: str, *, short: bool) -> str:
    """When, where and by what command a part was measured, and the load of the machine before."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    machine = f"{os.cpu_count()} cores of {model[1] if model else platform.processor()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    command = " ".join(["python -m loadtest.bench", *(["--short"] if short else []), part])
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, {python}, `{command}`; load before it began: {load:.1f}."
    )


def _with(page: str, part: str, text: str) -> str:
    """*page* with *text* between the marks of *part*."""
    begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}{text}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    sys.exit(main())

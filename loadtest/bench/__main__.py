"""All benchmarks, or some of them: figures and ratios, losses included. They judge no run by them.

    python -m loadtest.bench [--short] [--write] [--upstream FILE] [contenders] [start] [scaling] [overload] [fleet]

It takes the real catalogue at ../shared/data/public-apis, or the starter catalogue where that is not at hand.
"""

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apidex
from loadtest.bench import compare, fleet, overload, scaling, start
from loadtest.bench.process import MissingToolError, on_the_clients_core

_ROOT = Path(__file__).parents[2]
_REAL = _ROOT.parent / "shared/data/public-apis/README.md"
_STARTER = Path(apidex.__file__).with_name("catalogue") / "starter.json"
_PAGE, _PLOT = _ROOT / "docs/speed.md", _ROOT / "docs/scaling.svg"


@dataclass(frozen=True, slots=True)
class Plan:
    """On which catalogue, how thoroughly, and whether docs/speed.md is to show it."""

    upstream: Path
    short: bool
    write: bool


def _contenders(plan: Plan) -> str:
    return compare.compare(plan.upstream, short=plan.short)


def _start(plan: Plan) -> str:
    return start.starts(plan.upstream.as_uri(), runs=1 if plan.short else 5)


def _scaling(plan: Plan) -> str:
    grown = scaling.scaling((1000, 10_000) if plan.short else scaling.SIZES)
    if plan.write:
        scaling.plot(grown, _PLOT)
    return scaling.shown(grown)


def _overload(plan: Plan) -> str:
    return overload.overload(short=plan.short)


def _fleet(plan: Plan) -> str:
    return fleet.fleet(10_000 if plan.short else 1_000_000)


PARTS: dict[str, Callable[[Plan], str]] = {
    "contenders": _contenders,
    "start": _start,
    "scaling": _scaling,
    "overload": _overload,
    "fleet": _fleet,
}


def main() -> int:
    """Print the tables of each part that was asked for."""
    given = _given()
    plan = Plan(given.upstream.resolve(), given.short, given.write)
    try:
        for part in given.parts or PARTS:
            with on_the_clients_core():
                said = f"{_circumstances(plan, part)}\n\n{PARTS[part](plan)}"
            print(f"## {part}\n\n{said}", flush=True)
            if plan.write:
                _PAGE.write_text(_with(_PAGE.read_text(), part, said))
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--short", action="store_true", help="one short round: whether it works, not how fast it is")
    parser.add_argument("--write", action="store_true", help="put the tables and the plot into docs/speed.md")
    parser.add_argument(
        "--upstream", type=Path, help="a catalogue's file", default=_REAL if _REAL.exists() else _STARTER
    )
    return parser.parse_args()


def _circumstances(plan: Plan, part: str) -> str:
    """When, where and by what command a part was measured, and what else the machine had to do."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    machine = f"{os.cpu_count()} cores of {model[1] if model else platform.processor()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    command = " ".join(["python -m loadtest.bench", *(["--short"] if plan.short else []), part])
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, {python}, `{command}`; load before it began: {load:.1f}."
    )


def _with(page: str, part: str, said: str) -> str:
    """*page* with *said* between the marks of *part*."""
    begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}{said}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    sys.exit(main())

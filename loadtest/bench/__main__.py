"""All benchmarks, or some of them: figures and ratios, losses included. They judge no run by them.

    python -m loadtest.bench [--short] [--upstream FILE] [contenders] [start] [growth]

It takes the real catalogue at ../shared/data/public-apis, or the starter catalogue where that is not at hand.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apidex
from loadtest.bench import compare, growth, start
from loadtest.bench.process import MissingToolError

_REAL = Path(__file__).parents[3] / "shared/data/public-apis/README.md"
_STARTER = Path(apidex.__file__).with_name("starter.json")


@dataclass(frozen=True, slots=True)
class Plan:
    """On which catalogue, and how thoroughly."""

    upstream: Path
    short: bool


def _contenders(plan: Plan) -> str:
    return compare.compare(plan.upstream, short=plan.short)


def _start(plan: Plan) -> str:
    return start.starts(plan.upstream.as_uri(), runs=1 if plan.short else 5)


def _growth(plan: Plan) -> str:
    return growth.shown(growth.growth((1000, 10_000) if plan.short else growth.SIZES))


PARTS: dict[str, Callable[[Plan], str]] = {"contenders": _contenders, "start": _start, "growth": _growth}


def main() -> int:
    """Print the tables of each part that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--short", action="store_true", help="one short round: whether it works, not how fast it is")
    parser.add_argument(
        "--upstream", type=Path, help="a catalogue's file", default=_REAL if _REAL.exists() else _STARTER
    )
    given = parser.parse_args()
    plan = Plan(given.upstream.resolve(), given.short)
    try:
        for part in given.parts or PARTS:
            print(f"## {part}\n\n{PARTS[part](plan)}", flush=True)
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

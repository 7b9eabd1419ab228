"""`python -m loadtest`: run a scenario against a target, inject faults on schedule, and reach a verdict."""

import argparse
import errno
import fcntl
import io
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from apidex.cli.arguments import Parser, one_of, real_number, whole_number
from apidex.cli.output import discard, say
from apidex.terminal import counted
from loadtest.load_generator import FIRST_WITHIN, Load
from loadtest.scenarios import SCENARIOS, SUITE
from loadtest.scenarios.pairs import MEMBERS, PAIRS, REQUESTS, chosen, named, pair
from loadtest.scenarios.scenario import Scenario
from loadtest.shapes import SHAPES
from loadtest.system import UnsupportedError, is_this_machine, tool
from loadtest.targets import TARGETS
from loadtest.targets.service import RunningService
from loadtest.targets.target import Target, TargetOptions
from loadtest.verdict import Verdict

_USUAL = Load()
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: list[str] | None = None) -> int:
    """0 if every check holds, 1 if one does not or the run is void, 2 if it cannot be run, 130 if it was interrupted."""
    options = _parser().parse_args(arguments)
    if sys.stdout and sys.stdout is sys.__stdout__:
        sys.stdout = _Output()
    # however this was started: a shell lets what it starts in the background ignore an interrupt
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        return int(options.act(options))
    except UnsupportedError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("loadtest: interrupted; every fault is undone", file=sys.stderr)
        return 130


class _Output(io.TextIOWrapper):
    """Standard output, a line at a time. A run goes on, and is judged, when its reader has gone or its disk is full."""

    def __init__(self) -> None:
        # each line at once, also into a pipe: it may be about progress
        super().__init__(open(1, "wb", closefd=False), errors="backslashreplace", line_buffering=True)  # noqa: SIM115

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                say(f"loadtest: what is printed is lost: {error.strerror}")
            discard(self)
            return len(text)


def _interrupt(*_: object) -> NoReturn:
    """Unwind once; a second signal must not stop what is being undone."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


class _Parser(Parser):
    command = "loadtest"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # noqa: ANN401
        """As argparse, but each command reports its unknown arguments itself: its `--help` lists those that it has."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown


def _pair(text: str) -> str:
    try:
        return named(text)
    except ValueError:
        allowed = f"allowed are two of {', '.join(MEMBERS)}, with + between them"
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; {allowed}") from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m loadtest", description=(__doc__ or "").partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    listing = commands.add_parser("list", help="the scenarios, a line each")
    listing.set_defaults(act=_list)
    reporting = commands.add_parser("report", help="write report.html again from what a run has left in its folder")
    reporting.add_argument("folder", type=Path)
    reporting.set_defaults(act=_report)
    comparing = commands.add_parser("compare", help="put two runs side by side")
    comparing.add_argument("folders", nargs=2, type=Path, metavar="FOLDER")
    comparing.set_defaults(act=_compare)
    demo = commands.add_parser("demo", help="break four replicas on this machine, and show it on a page as it happens")
    demo.set_defaults(act=_demo)
    add, count, positive = demo.add_argument, whole_number(1, 10**9), real_number(0.001, 10**9)
    add("--seconds", type=positive, default=60.0, help="how long the story takes (%(default)g)")
    add("--users", type=count, default=_USUAL.users, help="how many users (%(default)s)")
    add("--port", type=whole_number(1024, 65535), default=8090, help="the port of the page (%(default)s)")
    add("--no-browser", action="store_true", help="print the page's address, and open nothing")
    add("--output", type=Path, default=Path("report"), help="the folder for the report (%(default)s)")
    capacity = commands.add_parser("capacity", help="measure, and say how many replicas of which size a load needs")
    capacity.set_defaults(act=_capacity)
    add = capacity.add_argument
    add("--requests-per-second", type=positive, default=1000.0, help="the load (%(default)g)")
    add("--entries", type=count, default=1500, help="the size of the catalogue (%(default)s)")
    add(
        "--check",
        type=whole_number(1, 16),
        default=0,
        metavar="REPLICAS",
        help="compare the prediction for so many with a measurement",
    )
    add("--pods", action="store_true", help="with --check: in pods of a cluster that runs on this machine")
    add("--points", type=Path, metavar="FILE", help="what an earlier run measured, instead of measuring")
    add("--output", type=Path, default=Path("report"), help="the folder for the results (%(default)s)")
    running = commands.add_parser("run", help="run scenarios, one after the other")
    running.set_defaults(act=_run)
    add = running.add_argument
    names = [*SCENARIOS, SUITE]
    add("scenarios", nargs="+", type=one_of(*names), metavar="SCENARIO", help=", ".join(names))
    add("--only", nargs="+", type=_pair, default=[], metavar="A+B", help=f"with {SUITE}: only these")
    add("--commit", metavar="HASH", help=f"with {SUITE}: only six, chosen by this hash")
    add(
        "--results",
        type=Path,
        metavar="FILE",
        help=f"with {SUITE}: put the table into this page of Markdown; what passes in the page's table is not played again",
    )
    add(
        "--target",
        type=one_of(*TARGETS),
        metavar="TARGET",
        default="processes",
        help=f"what it is run against: {', '.join(TARGETS)} (%(default)s)",
    )
    add("--up", action="store_true", help="start the target first, with an upstream that can misbehave")
    add("--edge", action="store_true", help="HAProxy in front: with --up on kubernetes, or on processes")
    add("--seconds", type=positive, help="about so long, and until every fault is over (60, or as the scenario has it)")
    add("--requests", type=whole_number(0, 10**9), default=0, help="at least so many (%(default)s)")
    add("--users", type=count, default=_USUAL.users, help="how many users (%(default)s)")
    add("--rate", type=positive, default=_USUAL.rate, help="requests a second of each that searches (%(default)g)")
    add(
        "--shape",
        type=one_of(*SHAPES),
        metavar="SHAPE",
        default=_USUAL.shape,
        help=f"how many of them, and when: {', '.join(SHAPES)} (%(default)s)",
    )
    add("--processes", type=count, default=_USUAL.processes, help="processes of Locust (%(default)s)")
    add(
        "--workers",
        type=whole_number(0, 1000),
        default=0,
        help=f"wait {FIRST_WITHIN:g} s for so many workers of Locust, on other machines too, which send all",
    )
    add("--seed", type=whole_number(0, 2**32), default=0, help="of the scenario's random choices (%(default)s)")
    add("--output", type=Path, default=Path("report"), help="the folder for the reports (%(default)s)")
    add("--host", default="", help="where a service answers, or a cluster whose Service has no address here")
    add("--project", default="apidex", help="the compose project (%(default)s)")
    add("--node", default="", help="the node that may be lost, or is drained")
    add("--node-down", default="", metavar="COMMAND", help="what disconnects it")
    add("--node-up", default="", metavar="COMMAND", help="what undoes that")
    add("--i-mean-it", action="store_true", help="run against a host that is not this machine")
    return parser


def _list(_: argparse.Namespace) -> int:
    width = max(map(len, SCENARIOS))
    for scenario in SCENARIOS.values():
        on = _supporting(scenario)
        only = "" if {*on, RunningService.name} == TARGETS.keys() else f" (on {' and '.join(on)})"
        print(f"{scenario.name:<{width}}  {scenario.about}{only}")
    print(f"{SUITE:<{width}}  Every pair of faults, each pair as a run of its own: what is done is kept.")
    return 0


def _supporting(scenario: Scenario) -> list[str]:
    """The targets on which it can be run."""
    return [name for name, target in TARGETS.items() if scenario.supported_by(target)]


def _demo(options: argparse.Namespace) -> int:
    """The outcome of the scenario `demo` on processes of this machine, with a page that shows it."""
    _require_modules()
    from loadtest.demo import NEEDS, LivePage, show
    from loadtest.run import INTERRUPTED, run

    print(NEEDS.format_map(vars(options)))
    tool("redis-server")
    scenario, logs, folder = SCENARIOS["demo"], _logs(options.output), _folder(options.output / "demo-processes")
    with _alone(logs), LivePage(options.port, options.seconds).running() as page:
        print(f"{page.url} shows what happens.")
        if not options.no_browser:
            show(page.url)
        with TARGETS["processes"].opened(TargetOptions(logs)) as target:
            load = Load(options.users)
            verdict = run(page.watched(scenario, folder), target, folder, load=load, seconds=options.seconds)
        outcome = _print(verdict, folder)
        page.conclude(verdict, folder / "report.html")
    if verdict.stopped_early == INTERRUPTED:
        raise KeyboardInterrupt
    return outcome


def _logs(output: Path) -> Path:
    """The folder for logs in *output*. Raises UnsupportedError where it cannot be made."""
    return _folder(output / "logs")


@contextmanager
def _alone(logs: Path) -> Iterator[None]:
    """No other run writes there while the block runs. Raises UnsupportedError where one does."""
    with (logs / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnsupportedError(f"another run writes to {logs.parent}; --output names another folder") from None
        yield


def _folder(path: Path) -> Path:
    """The folder at *path*, which is made. Raises UnsupportedError where it cannot be, or cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UnsupportedError(f"the reports cannot be written to {path}: {error.strerror}") from None
    return path


def _run(options: argparse.Namespace) -> int:
    """The worst outcome of the scenarios. One that cannot be run ends the command."""
    logs = _logs(options.output)
    _check(options)
    given = {name: getattr(options, name) for name in ("up", "edge", "host", "project", "node", "node_down", "node_up")}
    given["breakable"] = SUITE in options.scenarios
    outcomes = []
    with _alone(logs), TARGETS[options.target].opened(TargetOptions(logs, **given)) as target:
        for name in options.scenarios:
            if name == SUITE:
                outcomes.append(_run_pairs(options, target))
            else:
                folder = options.output / f"{name}-{target.name}"
                outcomes.append(_run_one(SCENARIOS[name], options, target, folder, options.requests))
    return max(outcomes)


def _run_one(scenario: Scenario, options: argparse.Namespace, target: Target, folder: Path, requests: int) -> int:
    from loadtest.run import INTERRUPTED, run

    print(f"{scenario.name} on {target.name}, {target.host}: {scenario.about}", flush=True)
    _folder(folder)
    load = Load(options.users, options.rate, options.processes, options.shape, workers=options.workers)
    limits = {"seconds": options.seconds, "requests": requests, "allow_remote": options.i_mean_it}
    verdict = run(scenario, target, folder, load=load, seed=options.seed, **limits)
    outcome = _print(verdict, folder)
    if verdict.stopped_early == INTERRUPTED:
        raise KeyboardInterrupt
    return outcome


def _run_pairs(options: argparse.Namespace, target: Target) -> int:
    """The worst outcome of the pairs. One that cannot be run does not keep the others from it."""
    able = {name for name, member in MEMBERS.items() if target.can(member.fault.verb)}
    names = [name for name in options.only or PAIRS if able.issuperset(name.split("+"))]
    if left := [name for name in options.only if name not in names]:
        raise UnsupportedError(f"{', '.join(left)} cannot be run on {target.name} as it was opened")
    if not names:
        raise UnsupportedError(f"no pair of faults can be played on {target.name} as it was opened")
    from loadtest import matrix  # imports matplotlib, which takes a second

    folder = _folder(options.output / f"{SUITE}-{target.name}{'-edge' * options.edge}")
    remaining = names = chosen(options.commit, names) if options.commit else names
    if options.results and not options.only:
        passed = matrix.Matrix.read(options.results.read_text()).passed
        print(f"{counted(len(passed.intersection(names)), 'pair')} passed in {options.results}: not played again.")
        remaining = [name for name in names if name not in passed]
    try:
        outcomes = [_play(name, names, options, target, folder) for name in remaining]
    finally:  # not before: a file that differs from the commit would be noted with each run
        if options.results:
            matrix.put_into(options.results, matrix.Matrix.left_in(folder, remaining, _command()))
    print(folder / "index.html")
    return max(outcomes, default=0)


def _play(name: str, names: Sequence[str], options: argparse.Namespace, target: Target, folder: Path) -> int:
    """The outcome of one pair of *names*, which are those of the table. It is played unless it was before."""
    from loadtest import matrix

    verdict = matrix.read_verdict(folder / name)
    if verdict and matrix.is_done(verdict):
        print(f"{name}: done before. {verdict.summary}")
        return 0 if verdict.passed else 1
    requests = options.requests or (0 if options.seconds else REQUESTS)
    try:
        target.renew()
        return _run_one(pair(name), options, target, folder / name, requests)
    except UnsupportedError as error:
        print(f"{name}: not run, {error}")
        return 2
    finally:
        matrix.write(folder, names, _command())


def _command() -> str:
    return " ".join(["python -m loadtest", *sys.argv[1:]])


def _report(options: argparse.Namespace) -> int:
    _require_modules()
    from loadtest.run import report

    return _print(report(options.folder), options.folder)


def _compare(options: argparse.Namespace) -> int:
    from loadtest.compare import compared

    print(compared(*options.folders), end="")
    return 0


def _capacity(options: argparse.Namespace) -> int:
    """Measure, unless it was measured; print the fits and what the load needs; write points and drawing."""
    _require_modules()
    if options.pods and not options.check:
        raise UnsupportedError("--pods is for --check")
    from loadtest import capacity

    _logs(options.output)
    rate, entries, written = options.requests_per_second, int(options.entries), options.output / "capacity.json"
    points = capacity.read(options.points) if options.points else capacity.measure(entries)
    written.write_bytes(capacity.encoded(points))
    check = capacity.checked(int(options.check), in_pods=options.pods) if options.check else None
    fits = {name: capacity.fit(name, points) for name in capacity.MODELS}
    print(capacity.measured_table(points), capacity.model_table(fits, check), sep="\n")
    print(*capacity.sentences(fits, points, rate, entries, check), sep="\n")
    drawing = written.with_suffix(".svg")
    drawing.write_bytes(capacity.drawing(fits, points, rate, entries))
    print(written, drawing, sep="\n")
    return 0


def _print(verdict: Verdict, folder: Path) -> int:
    for check in verdict.checks:
        outcome = "holds" if check.passed else "FAILS"
        print(f"{outcome}  {check.name}: {check.figure} (allowed: {check.bound}). {check.sentence}")
    if overtime := verdict.facts.overtime(verdict.facts.seconds):
        print(f"Lasted {verdict.facts.seconds:.0f} s, {overtime}.")
    print(f"{verdict.summary}\n{folder / 'report.html'}")
    return 0 if verdict.passed else 1


def _require_modules() -> None:
    if missing := [name for name in ("locust", "numpy", "scipy", "matplotlib") if not find_spec(name)]:
        install = f"{shlex.quote(sys.executable)} -m pip install 'apidex[loadtest]'"
        raise UnsupportedError(f"{', '.join(missing)} cannot be imported; this installs what is missing: {install}")


def _check(options: argparse.Namespace) -> None:
    """Raise UnsupportedError for what cannot be run there, or must not be, before anything is started."""
    _require_modules()
    for scenario in [*(SCENARIOS[name] for name in options.scenarios if name != SUITE), *map(pair, options.only)]:
        if options.target not in (on := _supporting(scenario)):
            raise UnsupportedError(f"{scenario.name} cannot be run on {options.target}, only on {' or '.join(on)}")
    if (options.target not in ("kubernetes", "service") and options.host) or (
        options.target != "kubernetes" and options.node
    ):
        raise UnsupportedError(f"--host is for kubernetes and service, --node for kubernetes, not for {options.target}")
    if options.workers and options.processes > 1:
        raise UnsupportedError("--workers and --processes exclude each other; allowed is one of them")
    given = [f"--{name}" for name in ("only", "commit", "results") if getattr(options, name)]
    if given and SUITE not in options.scenarios:
        raise UnsupportedError(f"{', '.join(given)}: only for {SUITE}; allowed is {SUITE} as SCENARIO")
    if options.commit == "":
        raise UnsupportedError("--commit: '' is not allowed; allowed is a hash")
    if options.results and not _is_text(options.results):
        raise UnsupportedError(f"{options.results} is not a file of text; --results takes a page of Markdown")
    if not _is_url(options.host):
        raise UnsupportedError(f"--host: {options.host!r} is not a URL; allowed is http://NAME, with a port or without")
    if options.edge and options.target == "compose":
        raise UnsupportedError("--edge is for kubernetes and processes: compose has HAProxy in front anyway")
    host = TARGETS[options.target].control_host()
    if not options.i_mean_it and not is_this_machine(host):
        raise UnsupportedError(f"{host} is not this machine; --i-mean-it allows load and faults there")


def _is_text(file: Path) -> bool:
    try:
        file.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    return True


def _is_url(text: str) -> bool:
    try:
        urlsplit(text).port  # noqa: B018 - it is checked when it is read
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "svg")
    sys.exit(main())

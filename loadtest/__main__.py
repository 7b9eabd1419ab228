"""`python -m loadtest`: plays a scenario against a target, breaks things on schedule, and hands down a verdict."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import msgspec

from loadtest.load_generator import Load
from loadtest.scenarios import SCENARIOS, Scenario
from loadtest.shapes import SHAPES
from loadtest.targets import Target, UnsupportedError, free_port, is_this_machine

TARGETS = ("processes", "compose", "kubernetes")

_USUAL = Load()


def main(arguments: list[str] | None = None) -> int:
    """0 if every check holds, 1 if one does not or the run is void, 2 if it cannot be played, 130 if it was interrupted."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # progress is for now, into a pipe as well
    # however this was started: a shell lets what it starts in the background ignore an interrupt
    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    try:
        return int(options.act(options))
    except UnsupportedError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("loadtest: interrupted; every fault is undone", file=sys.stderr)
        return 130


_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(*_: object) -> NoReturn:
    """Unwind once; what is being undone meanwhile must not be stopped by a second one."""
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    """One sentence on what is wrong, and what is allowed."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"loadtest: {message}\n")


def _more_than_none(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not 0 < (number := kind(text)) < 1e9:
            raise ValueError(text)
        return number

    parse.__name__ = f"{kind.__name__} (more than 0 is allowed)"
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m loadtest", description=__doc__.partition(": ")[2] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    listing = commands.add_parser("list", help="the scenarios, a line each")
    listing.set_defaults(act=_list)
    reporting = commands.add_parser("report", help="write report.html anew from what a run has left in its folder")
    reporting.add_argument("folder", type=Path)
    reporting.set_defaults(act=_report)
    running = commands.add_parser("run", help="play scenarios, one after the other")
    running.add_argument("scenarios", nargs="+", choices=list(SCENARIOS), metavar="SCENARIO", help=", ".join(SCENARIOS))
    running.add_argument(
        "--target", choices=TARGETS, default="processes", help="what it is played against (%(default)s)"
    )
    running.add_argument(
        "--up", action="store_true", help="bring the target up first, with an upstream that can be broken"
    )
    running.add_argument("--edge", action="store_true", help="with --up on kubernetes: HAProxy in front")
    running.add_argument(
        "--seconds", type=_more_than_none(float), help="at least so long (60, or as the scenario has it)"
    )
    running.add_argument("--requests", type=int, default=0, help="at least so many (%(default)s)")
    running.add_argument("--users", type=_more_than_none(int), default=_USUAL.users, help="how many ask (%(default)s)")
    running.add_argument(
        "--rate",
        type=_more_than_none(float),
        default=_USUAL.rate,
        help="requests a second of each that searches (%(default)g)",
    )
    running.add_argument(
        "--shape", choices=list(SHAPES), default=_USUAL.shape, help="how many of them, and when (%(default)s)"
    )
    running.add_argument(
        "--processes", type=_more_than_none(int), default=_USUAL.processes, help="processes of Locust (%(default)s)"
    )
    running.add_argument("--seed", type=int, default=0, help="of what is left to chance (%(default)s)")
    running.add_argument(
        "--output",
        type=Path,
        default=Path("report"),
        help="the folder for the reports, one for each scenario (%(default)s)",
    )
    running.add_argument(
        "--host", default="", help="where a kubernetes target answers, if its Service has no address here"
    )
    running.add_argument("--project", default="apidex", help="the compose project (%(default)s)")
    running.add_argument("--node", default="", help="the node that may be cut off, or is drained")
    running.add_argument("--node-down", default="", metavar="COMMAND", help="what cuts it off")
    running.add_argument("--node-up", default="", metavar="COMMAND", help="what undoes that")
    running.add_argument("--i-mean-it", action="store_true", help="play against a host that is not this machine")
    running.set_defaults(act=_run)
    return parser


def _list(_: argparse.Namespace) -> int:
    width = max(map(len, SCENARIOS))
    for scenario in SCENARIOS.values():
        able = _able(scenario)
        only = "" if len(able) == len(TARGETS) else f" (on {' and '.join(able)})"
        print(f"{scenario.name:<{width}}  {scenario.about}{only}")
    return 0


def _able(scenario: Scenario) -> list[str]:
    """The targets on which it can be played."""
    return [target for target in TARGETS if not scenario.needs or scenario.needs in vars(_class_of(target))]


def _run(options: argparse.Namespace) -> int:
    """The worst of what the scenarios came to. One that cannot be played ends the run."""
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnsupportedError(f"the reports cannot be written to {options.output}: {error.strerror}") from None
    with _target(options) as target:
        return max([_play(SCENARIOS[name], target, options) for name in options.scenarios])


def _play(scenario: Scenario, target: Target, options: argparse.Namespace) -> int:
    from loadtest.run import play  # with what draws and reckons: only where something is played

    print(f"{scenario.name} on {target.name}, {target.host}: {scenario.about}", flush=True)
    seconds = options.seconds or scenario.seconds
    folder = options.output / f"{scenario.name}-{target.name}"
    folder.mkdir(exist_ok=True)
    history = play(
        scenario,
        target,
        folder,
        seconds=seconds,
        load=Load(options.users, options.rate, options.processes, options.shape, seconds),
        seed=options.seed,
        requests=options.requests,
        anywhere=options.i_mean_it,
    )
    (folder / "history.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(history, requests=[])))
    return _hand_down(history, folder)


def _report(options: argparse.Namespace) -> int:
    from loadtest.record import read
    from loadtest.run import RunHistory

    folder = options.folder
    try:
        history = msgspec.json.decode((folder / "history.json").read_bytes(), type=RunHistory)
        requests = read(folder / "requests.csv")
    except (OSError, msgspec.MsgspecError) as error:
        raise UnsupportedError(f"{folder} holds no run: {error}") from None
    if history.scenario not in SCENARIOS:
        raise UnsupportedError(f"{folder} holds a run of {history.scenario!r}, which is no scenario here")
    return _hand_down(msgspec.structs.replace(history, requests=requests), folder)


def _hand_down(history, folder: Path) -> int:  # type: ignore[no-untyped-def] # noqa: ANN001
    from loadtest.analysis import Analysis
    from loadtest.record import write
    from loadtest.report import page
    from loadtest.verdict import judge

    judged = Analysis.of(history)
    verdict = judge(judged, SCENARIOS[history.scenario])
    write(folder / "requests.csv", judged.requests)
    (folder / "verdict.json").write_bytes(msgspec.json.format(msgspec.json.encode(verdict), indent=2))
    (folder / "report.html").write_text(page(verdict, history, judged.requests))
    for check in verdict.checks:
        print(
            f"{'holds' if check.passed else 'FAILS'}  {check.name}: {check.figure} (allowed: {check.bound}). {check.sentence}"
        )
    print(f"{verdict.summary}\n{folder / 'report.html'}")
    return 0 if verdict.passed else 1


def _class_of(target: str) -> type[Target]:
    """What the name of a target stands for; imported when it is wanted."""
    if target == "processes":
        from loadtest.targets.processes import Processes

        return Processes
    if target == "compose":
        from loadtest.targets.compose import Compose

        return Compose
    from loadtest.targets.kubernetes import Kubernetes

    return Kubernetes


def _check(options: argparse.Namespace) -> None:
    """Raise UnsupportedError for what cannot be played there, or must not be, before anything is started."""
    missing = [name for name in ("locust", "numpy", "scipy", "matplotlib") if not find_spec(name)]
    if missing:
        raise UnsupportedError(f"{', '.join(missing)} cannot be imported: pip install 'apidex[loadtest]'")
    for scenario in map(SCENARIOS.__getitem__, options.scenarios):
        if options.target not in _able(scenario):
            raise UnsupportedError(
                f"{scenario.name} cannot be played on {options.target}, only on {' or '.join(_able(scenario))}"
            )
    if options.target != "kubernetes" and (options.host or options.edge or options.node):
        raise UnsupportedError(f"--host, --edge and --node are for kubernetes, and say nothing of {options.target}")
    where = _class_of(options.target).where()
    if not options.i_mean_it and not is_this_machine(where):
        raise UnsupportedError(f"{where} is not this machine; --i-mean-it starts and breaks things there all the same")


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[Target]:
    _check(options)
    with ExitStack() as stack:
        if options.target == "processes":
            from loadtest.targets import processes

            logs = options.output / "logs"
            logs.mkdir(exist_ok=True)
            yield stack.enter_context(processes.running(logs))
        elif options.target == "compose":
            from loadtest.targets import compose

            provisioned_target = options.up and stack.enter_context(compose.provisioned("apidex-loadtest", free_port()))
            yield provisioned_target or compose.Compose(options.project)
        else:
            from loadtest.targets import kubernetes

            how = {"host": options.host, "node": options.node, "down": options.node_down, "up": options.node_up}
            provisioned_target = options.up and stack.enter_context(kubernetes.provisioned(options.edge, **how))
            target = provisioned_target or kubernetes.Kubernetes(**how)
            stack.callback(target.close)
            yield target


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "svg")
    sys.exit(main())

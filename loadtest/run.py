"""One run: Locust's users in a process of their own, a scenario that breaks things, and an observer. It gives a `RunHistory`.

Nothing is left behind: Locust is ended and every fault undone, on an interrupt too.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import msgspec

from loadtest.load_generator import GeneratorUsage, Load, Locust, asking
from loadtest.nemesis import Fault, ScenarioRun
from loadtest.observer import Observation, Observer, Progress, every
from loadtest.record import RequestRecord
from loadtest.scenarios import Scenario
from loadtest.targets import Target, UnsupportedError, UpstreamLog, WaitTimeoutError, is_this_machine, wait_for

_NOT_MET = "nothing, since it was not met"


class RunHistory(msgspec.Struct, frozen=True):
    """All that a run saw. Moments are seconds since it began.

    *least* is how many requests were asked for, *cut_short* what the scenario waited for in vain. *has_testbed* says that the
    upstream keeps a log, *upstream_history* when it gave which digest, each perhaps *sooner* by so much. *ended* counts the
    replicas' ends.
    """

    scenario: str
    target: str
    by_request: bool
    host: str
    began: str
    command: str
    seed: int
    least: int
    seconds: float
    replicas: int
    poll: float
    requests: list[RequestRecord]
    faults: list[Fault]
    cut_short: str
    observations: list[Observation]
    has_testbed: bool
    upstream_history: list[tuple[float, str]] | None
    sooner: float
    generator: GeneratorUsage
    ended: int
    versions_at_the_end: list[str]


def play(
    scenario: Scenario,
    target: Target,
    folder: Path,
    *,
    seconds: float,
    load: Load,
    seed: int = 0,
    requests: int = 0,
    anywhere: bool = False,
    tell: Callable[[str], None] = print,
) -> RunHistory:
    """ScenarioRun *scenario* against *target* for *seconds* and for as many *requests* at least; rows go into *folder*.

    Raises UnsupportedError when the target cannot be played against, or is not this machine and *anywhere* does not allow it.
    """
    _check(target, anywhere)
    target.prepare()
    wait_for(
        30, "one version on all replicas", lambda: len(_versions(target.host, len(target.replicas())) - {_NOT_MET}) == 1
    )
    poll, (given, _) = _poll(target.host), _upstream_log(target, 0.0)
    _clear(folder)
    began, epoch = datetime.now(UTC), time.monotonic()
    progress, observer = Progress(folder, epoch, tell), Observer(target.host, epoch)
    with asking(target.host, folder, epoch, load) as locust:
        wait_for(30, "any requests", lambda: bool(progress.look()) or not locust.lives())
        performance = ScenarioRun(
            target, seconds, epoch, Random(seed), enough=lambda: len(progress.requests) >= requests, tell=progress.event
        )
        replicas, cpu = target.restarts(), locust.cpu()
        first = performance.now()
        with observer.running(), progress.running(), _watched(locust, performance):
            cut_short = _perform(scenario, performance)
            agreed = _agreement(target, performance, poll)
            ended = _ended(replicas, target.restarts())
        last, (ran, waited) = (
            performance.now(),
            (after - before for before, after in zip(cpu, locust.cpu(), strict=True)),
        )
        upstream_history, sooner = _upstream_log(target, epoch)
    progress.look()
    return RunHistory(
        scenario=scenario.name,
        target=target.name,
        by_request=target.by_request,
        host=target.host,
        began=began.isoformat(timespec="seconds"),
        command=" ".join(["python -m loadtest", *sys.argv[1:]]),
        seed=seed,
        least=requests,
        seconds=round(last, 1),
        replicas=performance.replicas,
        poll=poll,
        requests=sorted(progress.requests, key=lambda request: request.done),
        faults=performance.faults,
        cut_short=cut_short,
        observations=observer.observations,
        has_testbed=given is not None,
        upstream_history=upstream_history,
        sooner=round(sooner, 3),
        generator=GeneratorUsage(round(ran, 2), round(last - first, 1), load.processes, round(waited, 2)),
        ended=ended,
        versions_at_the_end=sorted(agreed),
    )


def _ended(before: dict[str, int], after: dict[str, int]) -> int:
    """How many times a replica ended: those that are gone, and those that were started anew."""
    return sum(max(0, after[name] - count) if name in after else 1 for name, count in before.items())


def _clear(folder: Path) -> None:
    """Take away the rows that Locust wrote, or an earlier run's."""
    for rows in folder.glob("rows*.csv"):
        rows.unlink()


def _perform(scenario: Scenario, performance: ScenarioRun) -> str:
    """ScenarioRun it; what did not come about in its time, if something did not."""
    try:
        scenario.play(performance)
    except WaitTimeoutError as error:
        return str(error)
    return ""


def _check(target: Target, anywhere: bool) -> None:
    try:
        host = httpx.URL(target.host).host
    except httpx.InvalidURL as error:
        raise UnsupportedError(f"{target.host!r} is no address: {error}") from None
    if not anywhere and not is_this_machine(host):
        raise UnsupportedError(
            f"{host} is not this machine; --i-mean-it sends load there and breaks things there all the same"
        )
    try:
        ready = httpx.get(f"{target.host}/-/readyz", timeout=5).status_code
    except httpx.TransportError as error:
        raise UnsupportedError(f"{target.host} does not answer: {error}") from None
    if ready != httpx.codes.OK:
        raise UnsupportedError(f"{target.host} is not ready: it answers {ready} to /-/readyz")


def _poll(host: str) -> float:
    """Seconds between the polls of a replica, as it says."""
    try:
        return float(httpx.get(f"{host}/v1/catalogue", timeout=5).raise_for_status().json()["poll"])
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise UnsupportedError(
            f"{host} is no Apidex: its /v1/catalogue does not say how often it polls ({error!r})"
        ) from None


@contextmanager
def _watched(locust: Locust, performance: ScenarioRun) -> Iterator[None]:
    """Have the performance fail if Locust ends before it does."""

    def watch() -> None:
        if not locust.lives():
            performance.fail(UnsupportedError(f"Locust ended before the run did: {locust.complaint()}"))

    with every(0.5, watch):
        yield


def _agreement(target: Target, performance: ScenarioRun, poll: float) -> set[str]:
    """The versions that all replicas answer with, once they are one, and at the latest two polls and a bit later."""
    until = performance.now() + 2 * poll + 10
    while True:
        versions = _versions(target.host, performance.replicas)
        if len(versions) == 1 or performance.now() > until:
            return versions
        performance.waits(0.25)


def _versions(host: str, replicas: int) -> set[str]:
    """What the replicas answer with; a word for those that were not met."""
    found: dict[str, str] = {}
    for _ in range(40 * replicas):
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{host}/Cat", headers={"connection": "close"}, timeout=5).raise_for_status()
            found[answer.headers.get("x-served-by", "")] = answer.headers.get("catalogue-version", "")
        if len(found) >= replicas:
            return set(found.values())
    return {*found.values(), _NOT_MET}


def _upstream_log(target: Target, epoch: float) -> tuple[list[tuple[float, str]] | None, float]:
    """When the upstream gave which digest, None where that is not known, and by how much sooner that may have been.

    It tells how long ago; when it said so is known to the time that asking took.
    """
    began = time.monotonic()
    try:
        log: UpstreamLog = target.log()
    except UnsupportedError:
        return None, 0.0
    ended = time.monotonic()
    return [(ended - epoch - ago, digest) for ago, digest in log.given], ended - began
